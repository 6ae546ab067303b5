package pyromq.foreign;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/**
 * {@code send --topic T --mode sync|async|oneway|batch|ordered --count N [--first 0] [--tags a,b] [--keys prefix]
 * [--body-size 64] [--batch-size 32] [--shards 4] [--group G] [--compress [--compress-type ZLIB]] [--pause-ms 5 (sync)]
 * [--route-poll-ms 30000]}
 */
final class Sending {
    /** In flight at once in async mode: the client's own default refuses nothing below this. */
    private static final int IN_FLIGHT_MAX = 256;
    private static final int SEND_TIMEOUT_MS = 20_000;

    private final Map<String, Integer> statuses = new TreeMap<>();
    private final Map<Integer, long[]> queues = new TreeMap<>();
    private final List<String> ids = new ArrayList<>();
    private final List<String> offsetIds = new ArrayList<>();
    private final List<String> errors = new ArrayList<>();

    static void send(Options options) throws Exception {
        if (options.flag("compress")) {
            System.setProperty("rocketmq.message.compressType", options.text("compress-type", "ZLIB"));
        }
        DefaultMQProducer producer = new DefaultMQProducer(options.text("group", "pyromq-java-producer"));
        producer.setNamesrvAddr(options.text("namesrv"));
        producer.setClientIP("127.0.0.1");
        producer.setInstanceName("producer-" + System.nanoTime());
        producer.setSendMsgTimeout(SEND_TIMEOUT_MS);
        producer.setMaxMessageSize(4 * 1024 * 1024);
        producer.setPollNameServerInterval(options.number("route-poll-ms", producer.getPollNameServerInterval()));
        producer.setCompressMsgBodyOverHowmuch(options.flag("compress") ? 1 : Integer.MAX_VALUE);
        producer.start();
        long start = System.nanoTime();
        Sending sending = new Sending();
        try {
            switch (options.text("mode", "sync")) {
                case "sync" -> sending.sync(producer, options);
                case "async" -> sending.async(producer, options);
                case "oneway" -> sending.oneway(producer, options);
                case "batch" -> sending.batch(producer, options);
                case "ordered" -> sending.ordered(producer, options);
                default -> throw new IllegalArgumentException("unknown mode " + options.text("mode"));
            }
        } finally {
            Main.closeAside(producer::shutdown);
        }
        sending.report(options, (System.nanoTime() - start) / 1_000_000);
    }

    private static int first(Options options) {
        return options.number("first", 0);
    }

    private static int last(Options options) {
        return first(options) + options.number("count", 1);
    }

    private void sync(DefaultMQProducer producer, Options options) throws Exception {
        for (int n = first(options); n < last(options); n++) {
            record(producer.send(Sample.message(options, n)));
            Thread.sleep(options.number("pause-ms", 0));
        }
    }

    private void ordered(DefaultMQProducer producer, Options options) throws Exception {
        int shards = options.number("shards", 4);
        for (int n = first(options); n < last(options); n++) {
            record(producer.send(Sample.message(options, n),
                (queues, message, shard) -> queues.get((Integer) shard % queues.size()), n % shards));
        }
    }

    private void async(DefaultMQProducer producer, Options options) throws Exception {
        Semaphore inFlight = new Semaphore(IN_FLIGHT_MAX);
        for (int n = first(options); n < last(options); n++) {
            inFlight.acquire();
            producer.send(Sample.message(options, n), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    record(result);
                    inFlight.release();
                }

                @Override
                public void onException(Throwable error) {
                    record(error);
                    inFlight.release();
                }
            });
        }
        if (!inFlight.tryAcquire(IN_FLIGHT_MAX, options.number("timeout", 60), TimeUnit.SECONDS)) {
            throw new TimeoutException((IN_FLIGHT_MAX - inFlight.availablePermits()) + " callbacks missing");
        }
    }

    /**
     * One-way messages are lost when the client closes a connection that still has bytes queued, so one synchronous
     * message per queue is not enough: the connection is the same for all, hence one synchronous request behind
     * them on it proves that all were handed over. It asks for the maximum offset, which changes nothing.
     */
    private void oneway(DefaultMQProducer producer, Options options) throws Exception {
        for (int n = first(options); n < last(options); n++) {
            producer.sendOneway(Sample.message(options, n));
            statuses.merge("ONEWAY", 1, Integer::sum);
        }
        for (var queue : producer.fetchPublishMessageQueues(options.text("topic"))) {
            producer.maxOffset(queue);
        }
    }

    private void batch(DefaultMQProducer producer, Options options) throws Exception {
        int size = options.number("batch-size", 32);
        for (int n = first(options); n < last(options); n += size) {
            List<Message> batch = new ArrayList<>();
            for (int i = n; i < Math.min(n + size, last(options)); i++) {
                batch.add(Sample.message(options, i));
            }
            record(producer.send(batch));
        }
    }

    private synchronized void record(SendResult result) {
        String[] sent = result.getMsgId().split(",");
        statuses.merge(result.getSendStatus().name(), sent.length, Integer::sum);
        ids.addAll(List.of(sent));
        if (result.getOffsetMsgId() != null) {
            offsetIds.addAll(List.of(result.getOffsetMsgId().split(",")));
        }
        long firstOffset = result.getQueueOffset();
        long lastOffset = firstOffset + sent.length - 1;
        long[] range = queues.computeIfAbsent(result.getMessageQueue().getQueueId(),
            id -> new long[] {Long.MAX_VALUE, Long.MIN_VALUE, 0});
        range[0] = Math.min(range[0], firstOffset);
        range[1] = Math.max(range[1], lastOffset);
        range[2] += sent.length;
    }

    private synchronized void record(Throwable error) {
        statuses.merge("ERROR", 1, Integer::sum);
        if (errors.size() < 10) {
            errors.add(error.toString());
        }
    }

    private synchronized void report(Options options, long elapsedMs) {
        Map<String, Object> ranges = new TreeMap<>();
        queues.forEach((id, range) -> ranges.put(String.valueOf(id),
            Map.of("first", range[0], "last", range[1], "count", range[2])));
        Main.print(
            "mode", options.text("mode", "sync"),
            "sent", statuses.values().stream().mapToInt(Integer::intValue).sum(),
            "statuses", statuses,
            "distinct_ids", ids.stream().distinct().count(),
            "distinct_offset_ids", offsetIds.stream().distinct().count(),
            "first_id", ids.isEmpty() ? null : ids.get(0),
            "first_offset_id", offsetIds.isEmpty() ? null : offsetIds.get(0),
            "last_id", ids.isEmpty() ? null : ids.get(ids.size() - 1),
            "last_offset_id", offsetIds.isEmpty() ? null : offsetIds.get(offsetIds.size() - 1),
            "queues", ranges,
            "errors", errors,
            "elapsed_ms", elapsedMs);
    }
}
