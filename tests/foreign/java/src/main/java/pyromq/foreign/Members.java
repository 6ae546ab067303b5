package pyromq.foreign;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Push consumers that come and go while other commands run, each with a name:
 *
 * <pre>
 * join --name N --group G --topic T[,T2] [--orderly | --broadcast] [--from first|last|since --since MS]
 *      [--cache 8] [--pull-size 8] [--fill COUNT] [--hold NUMBER] [--suspend NUMBER]
 *      [--work MS] [--commit MS] [--instance I] [--ledger L]
 * leave --name N [--wait]
 * settled --group G --topic T --queues Q --members A,B,C     until each of these has exactly its share of the queues
 * </pre>
 *
 * <p>A client is an instance with connections of its own; members with the same {@code --instance} share one. What
 * they consume goes to the group's {@link Ledger}, or to the one named.
 */
final class Members {
    /** As in {@link Consuming}: a lost heartbeat must not cost 30 s. */
    private static final int HEARTBEAT_INTERVAL_MS = 1000;
    private static final int ROUTE_INTERVAL_MS = 1000;
    /** Before a pull that was refused is tried again. */
    private static final int PULL_AGAIN_MS = 200;
    private static final int SUSPEND_MS = 100;
    /** A member that leaves finishes what it has begun, but not all that still comes. */
    private static final int FINISH_MS = 1000;
    private static final int COMMIT_INTERVAL_MS = 5000;
    private static final int LOOK_AGAIN_MS = 5;

    private static final Map<String, DefaultMQPushConsumer> MEMBERS = new ConcurrentHashMap<>();

    private Members() {
    }

    @SuppressWarnings("deprecation")
    static void join(Options options) throws Exception {
        String name = options.text("name");
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(options.text("group"));
        consumer.setNamesrvAddr(options.text("namesrv"));
        consumer.setClientIP("127.0.0.1");
        consumer.setInstanceName(options.text("instance", name));
        consumer.setHeartbeatBrokerInterval(HEARTBEAT_INTERVAL_MS);
        consumer.setPollNameServerInterval(ROUTE_INTERVAL_MS);
        consumer.setPersistConsumerOffsetInterval(options.number("commit", COMMIT_INTERVAL_MS));
        consumer.setPullTimeDelayMillsWhenException(PULL_AGAIN_MS);
        consumer.setSuspendCurrentQueueTimeMillis(SUSPEND_MS);
        consumer.setAwaitTerminationMillisWhenShutdown(FINISH_MS);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.setPullThresholdForQueue(options.number("cache", 8));
        consumer.setPullBatchSize(options.number("pull-size", 8));
        switch (options.text("from", "first")) {
            case "first" -> consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            case "last" -> consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
            case "since" -> {
                consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
                consumer.setConsumeTimestamp(UtilAll.timeMillisToHumanString3(options.longNumber("since", 0)));
            }
            default -> throw new IllegalArgumentException("unknown start " + options.text("from"));
        }
        if (options.flag("broadcast")) {
            // 4.9 and 5.x keep the type of models in different packages.
            for (var model : consumer.getMessageModel().getDeclaringClass().getEnumConstants()) {
                if (model.name().equals("BROADCASTING")) {
                    consumer.setMessageModel(model);
                }
            }
        }
        for (String topic : options.text("topic").split(",")) {
            consumer.subscribe(topic, "*");
        }
        listen(consumer, options, name);
        if (MEMBERS.putIfAbsent(name, consumer) != null) {
            throw new IllegalArgumentException(name + " is a member already");
        }
        consumer.start();
        Main.print("joined", name, "id", consumer.buildMQClientId());
    }

    private static void listen(DefaultMQPushConsumer consumer, Options options, String name) {
        Ledger ledger = Ledger.of(options.text("ledger", options.text("group")));
        Ledger.Part part = new Ledger.Part(name, options.number("fill", Integer.MAX_VALUE), options.number("hold", -1));
        int refused = options.number("suspend", -1);
        if (options.flag("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                for (MessageExt message : messages) {
                    if (ledger.isRefused(name, message, refused)) {
                        return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                    }
                    note(ledger, part, message, assigned(consumer, context.getMessageQueue()));
                    work(options);
                }
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt message : messages) {
                    note(ledger, part, message, null);
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
    }

    private static void note(Ledger ledger, Ledger.Part part, MessageExt message, Object assignment) {
        try {
            ledger.note(part, message, assignment);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(error);
        }
    }

    /** The same object as long as the consumer has the queue without a break. */
    @SuppressWarnings("deprecation")
    private static Object assigned(DefaultMQPushConsumer consumer, MessageQueue queue) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().get(queue);
    }

    /** What a message costs its consumer, so that messages are at hand whenever a queue changes hands. */
    private static void work(Options options) {
        LockSupport.parkNanos(options.number("work", 0) * 1_000_000L);
    }

    /** A member has left the group long before its client's last thread has ended; --wait waits for that too. */
    static void leave(Options options) {
        String name = options.text("name");
        DefaultMQPushConsumer consumer = MEMBERS.remove(name);
        if (options.flag("wait")) {
            consumer.shutdown();
        } else {
            Main.closeAside(consumer::shutdown);
        }
        Main.print("left", name);
    }

    /** What each should have follows from the client's own rule, applied to these members and to no one else. */
    static void settled(Options options) throws Exception {
        long start = System.nanoTime();
        long deadline = options.deadlineNanos();
        List<String> names = List.of(options.text("members").split(","));
        List<String> ids = new ArrayList<>();
        names.forEach(name -> ids.add("127.0.0.1@" + name));
        Collections.sort(ids);
        Map<String, Object> shares = new TreeMap<>();
        for (String name : names) {
            DefaultMQPushConsumer member = MEMBERS.get(name);
            while (member != null && !hasItsShare(member, options, ids)) {
                if (System.nanoTime() > deadline) {
                    throw new TimeoutException(name + " has " + queuesOf(member, options.text("topic")));
                }
                Thread.sleep(LOOK_AGAIN_MS);
            }
            if (member != null) {
                shares.put(name, queuesOf(member, options.text("topic")).size());
            }
        }
        Main.print("shares", shares, "waited_ms", (System.nanoTime() - start) / 1_000_000);
    }

    @SuppressWarnings("deprecation")
    private static boolean hasItsShare(DefaultMQPushConsumer member, Options options, List<String> ids) {
        Set<MessageQueue> known = member.getDefaultMQPushConsumerImpl().getRebalanceImpl()
            .getTopicSubscribeInfoTable().get(options.text("topic"));
        if (known == null || known.size() != options.number("queues", 8)) {
            return false;
        }
        List<MessageQueue> all = new ArrayList<>(known);
        Collections.sort(all);
        Set<MessageQueue> share = new HashSet<>(new AllocateMessageQueueAveragely()
            .allocate(options.text("group"), member.buildMQClientId(), all, ids));
        return share.equals(queuesOf(member, options.text("topic")));
    }

    @SuppressWarnings("deprecation")
    private static Set<MessageQueue> queuesOf(DefaultMQPushConsumer member, String topic) {
        Set<MessageQueue> queues = new HashSet<>();
        member.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().forEach((queue, process) -> {
            if (queue.getTopic().equals(topic) && !process.isDropped()) {
                queues.add(queue);
            }
        });
        return queues;
    }
}
