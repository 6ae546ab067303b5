package pyromq.foreign;

import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * {@code fetch --topic T [--expect N] [--timeout S]}: what a pull consumer reads of all queues from their beginning,
 * as soon as N messages are there. {@code resend --topic T}: all of T again to the topics they come from, as mqadmin
 * and the dashboard do with dead letters.
 */
final class Fetching {
    private static final int BATCH = 32;

    private Fetching() {
    }

    static void fetch(Options options) throws Exception {
        List<Object> messages = new ArrayList<>();
        for (MessageExt message : all(options)) {
            messages.add(Received.of(message));
        }
        Main.print("messages", messages);
    }

    static void resend(Options options) throws Exception {
        var producer = Clients.producer(options);
        producer.start();
        List<Object> sent = new ArrayList<>();
        try {
            for (MessageExt message : all(options)) {
                Message again = new Message(message.getProperty("RETRY_TOPIC"), message.getBody());
                MessageAccessor.setProperties(again, message.getProperties());
                again.setFlag(message.getFlag());
                sent.add(producer.send(again).getSendStatus().name());
            }
        } finally {
            Main.closeAside(producer::shutdown);
        }
        Main.print("sent", sent);
    }

    /** The consumer that pulls by hand is deprecated, and the only one that reads without joining its group. */
    @SuppressWarnings("deprecation")
    private static List<MessageExt> all(Options options) throws Exception {
        var consumer =
            new org.apache.rocketmq.client.consumer.DefaultMQPullConsumer(options.text("group", "pyromq-fetch"));
        Clients.settle(consumer, options, "pull");
        consumer.start();
        long deadline = options.deadlineNanos();
        List<MessageExt> messages = new ArrayList<>();
        try {
            do {
                messages.clear();
                for (MessageQueue queue : new TreeSet<>(consumer.fetchSubscribeMessageQueues(options.text("topic")))) {
                    long next = consumer.minOffset(queue);
                    long end = consumer.maxOffset(queue);
                    while (next < end) {
                        PullResult result = consumer.pull(queue, "*", next, BATCH);
                        if (result.getMsgFoundList() != null) {
                            messages.addAll(result.getMsgFoundList());
                        }
                        next = result.getNextBeginOffset();
                    }
                }
                Thread.sleep(messages.size() < options.number("expect", 0) ? 20 : 0);
            } while (messages.size() < options.number("expect", 0) && System.nanoTime() < deadline);
        } finally {
            Main.closeAside(consumer::shutdown);
        }
        return messages;
    }
}
