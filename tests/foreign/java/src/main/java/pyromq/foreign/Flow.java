package pyromq.foreign;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * Numbered messages that flow while other commands run, {@code Sample}'s as in {@code send}:
 *
 * <pre>
 * flow --topic T --count N --allowed M [--shards S] [--first 0] [--pause 10]
 * flow-allow --topic T --allowed M
 * flow-sent --topic T [--sent N] [--timeout S]      waits until N are stored, then tells how it stands
 * </pre>
 *
 * <p>Up to the allowed number it sends as fast as it can; behind it a message per pause (ms), so that something
 * flows, and not too much, while a group changes. With shards, message n goes to queue n % S of the route's queues, one
 * after another; else in batches, queues in turn.
 */
final class Flow implements Runnable {
    private static final int BATCH = 16;
    private static final int RECENT = 32;
    private static final int SEND_TIMEOUT_MS = 20_000;
    private static final int ROUTE_INTERVAL_MS = 1000;
    private static final Map<String, Flow> FLOWS = new ConcurrentHashMap<>();

    private final Options options;
    private final DefaultMQProducer producer;
    private final int first;
    private final int count;
    private final Deque<Integer> recentQueues = new ArrayDeque<>();
    private final List<String> errors = new ArrayList<>();
    private int allowed;
    private int sent;

    private Flow(Options options) throws Exception {
        this.options = options;
        first = options.number("first", 0);
        count = options.number("count", 1);
        allowed = options.number("allowed", 0);
        producer = new DefaultMQProducer("pyromq-java-flow");
        producer.setNamesrvAddr(options.text("namesrv"));
        producer.setClientIP("127.0.0.1");
        producer.setInstanceName("flow-" + System.nanoTime());
        producer.setPollNameServerInterval(ROUTE_INTERVAL_MS);
        producer.setSendMsgTimeout(SEND_TIMEOUT_MS);
        producer.start();
    }

    static void start(Options options) throws Exception {
        Flow flow = new Flow(options);
        if (FLOWS.putIfAbsent(options.text("topic"), flow) != null) {
            throw new IllegalArgumentException("something flows into " + options.text("topic") + " already");
        }
        new Thread(flow, "flow").start();
        Main.print("flows", options.text("topic"));
    }

    static void allow(Options options) {
        Flow flow = FLOWS.get(options.text("topic"));
        synchronized (flow) {
            flow.allowed = options.number("allowed", 0);
            flow.notifyAll();
        }
        Main.print("allowed", options.number("allowed", 0));
    }

    static void sent(Options options) throws Exception {
        FLOWS.get(options.text("topic")).awaitSent(options);
    }

    @Override
    public void run() {
        try {
            for (int size = nextSize(); size > 0; size = nextSize()) {
                note(send(first + sent, size), size);
            }
        } catch (Exception error) {
            error.printStackTrace();
            synchronized (this) {
                errors.add(error.toString());
                notifyAll();
            }
        } finally {
            Main.closeAside(producer::shutdown);
        }
    }

    private synchronized int nextSize() throws InterruptedException {
        if (sent >= allowed) {
            wait(options.number("pause", 10));
        }
        int most = options.has("shards") ? 1 : BATCH;
        return Math.min(sent < allowed ? Math.min(most, allowed - sent) : 1, count - sent);
    }

    private SendResult send(int number, int size) throws Exception {
        if (options.has("shards")) {
            return producer.send(Sample.message(options, number),
                (queues, message, shard) -> queues.get((Integer) shard % queues.size()),
                number % options.number("shards", 1));
        }
        if (size == 1) {
            return producer.send(Sample.message(options, number));
        }
        List<Message> batch = new ArrayList<>();
        for (int n = number; n < number + size; n++) {
            batch.add(Sample.message(options, n));
        }
        return producer.send(batch);
    }

    private synchronized void note(SendResult result, int size) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            throw new IllegalStateException(result.toString());
        }
        sent += size;
        recentQueues.addLast(result.getMessageQueue().getQueueId());
        if (recentQueues.size() > RECENT) {
            recentQueues.removeFirst();
        }
        notifyAll();
    }

    private synchronized void awaitSent(Options wanted) throws Exception {
        long deadline = wanted.deadlineNanos();
        while (sent < wanted.number("sent", 0) && errors.isEmpty()) {
            if (System.nanoTime() >= deadline) {
                throw new TimeoutException(sent + " sent");
            }
            wait(Math.max(1, Options.millisUntil(deadline)));
        }
        if (!errors.isEmpty()) {
            throw new IllegalStateException(errors.get(0));
        }
        Main.print("sent", sent, "recent_queues", new TreeSet<>(recentQueues));
    }
}
