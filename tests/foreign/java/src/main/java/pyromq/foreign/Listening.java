package pyromq.foreign;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Push consumers that stay while other subcommands run:
 *
 * <pre>
 * listen --as NAME --topic T --group G [--orderly] [--max-times N] [--later 3:2,5:1@4] [--forgotten 4] [--answer]
 * heard --as NAME --expect N [--timeout S]     waits for N deliveries and tells all so far
 * unlisten --as NAME
 * </pre>
 *
 * <p>One that traces stays to the end of the JVM, see {@link Clients}.
 *
 * <p>{@code --later}: message 3 is not consumed at its first two deliveries, message 5 not at its first and wishes
 * delay level 4; {@code *} means each message. {@code --forgotten}: these are handed back under a place at which the
 * server has no message, as if the log had been cleaned meanwhile. {@code --answer}: each is answered as a request,
 * but for those of {@code --silent}.
 */
final class Listening {
    private static final long NOWHERE = Long.MAX_VALUE / 4;
    private static final long SUSPEND_MS = 100;
    private static final Map<String, Listening> OPEN = new HashMap<>();

    private record Refusal(int count, int level) {
    }

    private final Map<String, Refusal> refusals = new HashMap<>();
    private final Map<Integer, Integer> deliveries = new HashMap<>();
    private final List<Object> heard = new ArrayList<>();
    private final Set<String> forgotten;
    private final Set<String> silent;
    private final DefaultMQPushConsumer consumer;
    private final DefaultMQProducer answering;
    private final boolean isTracing;

    private Listening(Options options) throws Exception {
        for (String rule : words(options, "later")) {
            String[] parts = rule.split("[:@]");
            refusals.put(parts[0],
                new Refusal(Integer.parseInt(parts[1]), parts.length > 2 ? Integer.parseInt(parts[2]) : 0));
        }
        forgotten = Set.of(words(options, "forgotten"));
        silent = Set.of(words(options, "silent"));
        answering = options.flag("answer") ? Clients.producer(options) : null;
        isTracing = options.flag("trace");
        consumer = Clients.pushConsumer(options);
        consumer.subscribe(options.text("topic"), options.text("sub", "*"));
        if (options.flag("orderly")) {
            consumer.setSuspendCurrentQueueTimeMillis(SUSPEND_MS);
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) ->
                hear(messages.get(0)) == null ? ConsumeOrderlyStatus.SUCCESS
                    : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                Refusal refusal = hear(messages.get(0));
                if (refusal == null) {
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                }
                context.setDelayLevelWhenNextConsume(refusal.level());
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
        }
    }

    private static String[] words(Options options, String name) {
        return options.has(name) ? options.text(name).split(",") : new String[0];
    }

    private static Listening named(Options options) {
        Listening listening = OPEN.get(options.text("as"));
        if (listening == null) {
            throw new IllegalArgumentException("nobody listens as " + options.text("as"));
        }
        return listening;
    }

    static void begin(Options options) throws Exception {
        Listening listening = new Listening(options);
        if (listening.answering != null) {
            listening.answering.start();
        }
        listening.consumer.start();
        OPEN.put(options.text("as"), listening);
        Main.print("client_id", listening.consumer.buildMQClientId());
    }

    static void heard(Options options) throws InterruptedException {
        Listening listening = named(options);
        long deadline = options.deadlineNanos();
        synchronized (listening) {
            while (listening.heard.size() < options.number("expect", 1) && System.nanoTime() < deadline) {
                listening.wait(Math.max(1, Options.millisUntil(deadline)));
            }
            Main.print("messages", listening.heard);
        }
    }

    static void end(Options options) throws InterruptedException {
        Listening listening = named(options);
        OPEN.remove(options.text("as"));
        if (!listening.isTracing) {
            Clients.leave(listening.consumer);
        }
        if (listening.answering != null) {
            Main.closeAside(listening.answering::shutdown);
        }
        Main.print("ended", options.text("as"));
    }

    /** Why this delivery is refused, null if it is consumed. */
    private Refusal hear(MessageExt message) {
        Map<String, Object> received = Received.of(message);
        int number = (int) received.get("number");
        received.put("heard_ms", System.currentTimeMillis());
        Refusal refusal;
        synchronized (this) {
            heard.add(received);
            int before = deliveries.merge(number, 1, Integer::sum) - 1;
            refusal = refusals.getOrDefault(String.valueOf(number), refusals.get("*"));
            if (refusal != null && before >= refusal.count()) {
                refusal = null;
            }
            notifyAll();
        }
        if (refusal != null && forgotten.contains(String.valueOf(number))) {
            message.setCommitLogOffset(NOWHERE);
        }
        if (answering != null && !silent.contains(String.valueOf(number))) {
            Requesting.answer(answering, message);
        }
        return refusal;
    }
}
