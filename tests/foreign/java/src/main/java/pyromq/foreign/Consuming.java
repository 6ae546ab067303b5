package pyromq.foreign;

import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * {@code consume-push|consume-pull --topic T --group G [--sub EXPR] --expect N [--timeout S] [--orderly]
 * [--route-poll-ms 30000 (push)]} and
 * {@code consume-assign} (assign, then twice from the beginning): receives until N distinct numbers have arrived or the time
 * is over, then tells what came. Not enough is not an error here: the test judges the numbers.
 */
final class Consuming {
    /**
     * Each rebalance raises the version of the subscription and sends a heartbeat, but not when another thread is
     * sending one. Then every pull is answered with "subscription not latest" until the next heartbeat, by default
     * 30 s later: about one consumer start in thirty.
     */
    private static final int HEARTBEAT_INTERVAL_MS = 1000;

    private final Object lock = new Object();
    private final BitSet numbers = new BitSet();
    private final Map<String, Integer> tags = new TreeMap<>();
    private final Map<String, Integer> origins = new TreeMap<>();
    private final Map<Integer, Long> highestOffsets = new HashMap<>();
    private final Map<Integer, Integer> highestNumbers = new HashMap<>();
    private final Map<Integer, Integer> queues = new TreeMap<>();
    private int received;
    private int wrong;
    private int redelivered;
    private int outOfOrder;
    private int numbersOutOfOrder;
    private long bodyBytes;
    private long storedBytes;
    private String sampleId;
    private String sampleOffsetId;

    static void push(Options options) throws Exception {
        Consuming consuming = new Consuming();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(options.text("group"));
        consumer.setNamesrvAddr(options.text("namesrv"));
        consumer.setClientIP("127.0.0.1");
        consumer.setInstanceName("push-" + System.nanoTime());
        consumer.setHeartbeatBrokerInterval(HEARTBEAT_INTERVAL_MS);
        consumer.setPollNameServerInterval(options.number("route-poll-ms", consumer.getPollNameServerInterval()));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeMessageBatchMaxSize(32);
        consumer.subscribe(options.text("topic"), options.text("sub", "*"));
        if (options.flag("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                consuming.receive(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                consuming.receive(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        long start = System.nanoTime();
        consumer.start();
        try {
            consuming.awaitAll(options);
        } finally {
            consumer.shutdown();
        }
        consuming.report(options, start);
    }

    static void pull(Options options) throws Exception {
        Consuming consuming = new Consuming();
        DefaultLitePullConsumer consumer = litePullConsumer(options);
        consumer.subscribe(options.text("topic"), options.text("sub", "*"));
        long start = System.nanoTime();
        consumer.start();
        consuming.poll(consumer, options);
        consuming.report(options, start);
    }

    /**
     * Reads all, seeks to the beginning, reads all again and reports that. Seeking right after assign would race with
     * the first pulls: what they bring then comes twice or not at all, with any server.
     */
    static void assign(Options options) throws Exception {
        Consuming consuming = new Consuming();
        DefaultLitePullConsumer consumer = litePullConsumer(options);
        long start = System.nanoTime();
        consumer.start();
        if (options.has("sub")) {
            consumer.setSubExpressionForAssign(options.text("topic"), options.text("sub"));
        }
        var assigned = consumer.fetchMessageQueues(options.text("topic"));
        consumer.assign(assigned);
        new Consuming().pollAll(consumer, options);
        for (var queue : assigned) {
            consumer.seekToBegin(queue);
        }
        consuming.poll(consumer, options);
        consuming.report(options, start);
    }

    private static DefaultLitePullConsumer litePullConsumer(Options options) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(options.text("group"));
        consumer.setNamesrvAddr(options.text("namesrv"));
        consumer.setClientIP("127.0.0.1");
        consumer.setInstanceName("pull-" + System.nanoTime());
        consumer.setHeartbeatBrokerInterval(HEARTBEAT_INTERVAL_MS);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPullBatchSize(32);
        return consumer;
    }

    /** Commits at the end, as an application that leaves properly; the method that 4.9 has too. */
    @SuppressWarnings("deprecation")
    private void poll(DefaultLitePullConsumer consumer, Options options) throws Exception {
        try {
            pollAll(consumer, options);
            consumer.commitSync();
        } finally {
            consumer.shutdown();
        }
    }

    private void pollAll(DefaultLitePullConsumer consumer, Options options) {
        long deadline = options.deadlineNanos();
        while (distinct() < options.number("expect", 1) && System.nanoTime() < deadline) {
            receive(consumer.poll(Math.min(1000, Options.millisUntil(deadline))));
        }
    }

    private void awaitAll(Options options) throws InterruptedException {
        long deadline = options.deadlineNanos();
        synchronized (lock) {
            while (numbers.cardinality() < options.number("expect", 1) && System.nanoTime() < deadline) {
                lock.wait(Math.max(1, Options.millisUntil(deadline)));
            }
        }
    }

    private int distinct() {
        synchronized (lock) {
            return numbers.cardinality();
        }
    }

    private void receive(List<MessageExt> messages) {
        synchronized (lock) {
            for (MessageExt message : messages) {
                received++;
                int number = Sample.number(message);
                if (number < 0) {
                    wrong++;
                } else {
                    numbers.set(number);
                }
                if (message.getReconsumeTimes() > 0) {
                    redelivered++;
                }
                bodyBytes += message.getBody().length;
                storedBytes += message.getStoreSize();
                tags.merge(String.valueOf(message.getTags()), 1, Integer::sum);
                origins.merge(String.valueOf(message.getUserProperty("origin")), 1, Integer::sum);
                queues.merge(message.getQueueId(), 1, Integer::sum);
                Long highest = highestOffsets.get(message.getQueueId());
                if (highest != null && highest >= message.getQueueOffset()) {
                    outOfOrder++;
                } else {
                    highestOffsets.put(message.getQueueId(), message.getQueueOffset());
                }
                Integer before = highestNumbers.put(message.getQueueId(), number);
                if (before != null && before > number) {
                    numbersOutOfOrder++;
                }
                sampleId = message.getMsgId();
                sampleOffsetId = message instanceof org.apache.rocketmq.common.message.MessageClientExt client
                    ? client.getOffsetMsgId() : message.getMsgId();
            }
            lock.notifyAll();
        }
    }

    private void report(Options options, long startNanos) {
        synchronized (lock) {
            Map<String, Object> next = new TreeMap<>();
            highestOffsets.forEach((queue, offset) -> next.put(String.valueOf(queue), offset + 1));
            Main.print(
                "received", received,
                "distinct", numbers.cardinality(),
                "lowest", numbers.nextSetBit(0),
                "highest", numbers.length() - 1,
                "wrong", wrong,
                "redelivered", redelivered,
                "out_of_order", outOfOrder,
                "numbers_out_of_order", numbersOutOfOrder,
                "body_bytes", bodyBytes,
                "stored_bytes", storedBytes,
                "tags", tags,
                "origins", origins,
                "queues", queues,
                "next_offsets", next,
                "sample_id", sampleId,
                "sample_offset_id", sampleOffsetId,
                "elapsed_ms", (System.nanoTime() - startNanos) / 1_000_000);
        }
    }
}
