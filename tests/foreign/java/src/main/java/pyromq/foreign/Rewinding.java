package pyromq.foreign;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * {@code rewind VERB --topic T --group G}: {@code by-time --time MS} (−1 is the end), {@code by-time-old},
 * {@code by-queue --queue Q --offset N}, {@code commit --queue Q --offset N}, {@code clone --to-group G},
 * {@code status [--client-id ID]}. What the server refuses is told with its code.
 */
final class Rewinding {
    private Rewinding() {
    }

    static void run(Options options) throws Exception {
        String verb = options.positional().get(0);
        String topic = options.text("topic");
        String group = options.text("group");
        long time = options.longNumber("time", 0);
        Admin.with(options, admin -> {
            try {
                switch (verb) {
                    case "by-time" -> Main.print("queues",
                        byQueue(admin.resetOffsetByTimestamp(topic, group, time, !options.flag("gently"))));
                    case "by-time-old" -> {
                        List<Object> rows = new ArrayList<>();
                        for (var queue : admin.resetOffsetByTimestampOld(group, topic, time, !options.flag("gently"))) {
                            rows.add(Map.of("queue", queue.getQueueId(), "end", queue.getBrokerOffset(),
                                "committed", queue.getConsumerOffset(), "by_time", queue.getTimestampOffset(),
                                "now", queue.getRollbackOffset()));
                        }
                        Main.print("rows", rows);
                    }
                    case "by-queue" -> {
                        byQueueId(admin, options);
                        Main.print("reset", true);
                    }
                    case "commit" -> {
                        MessageQueue queue = new MessageQueue(topic, "broker-a", options.number("queue", 0));
                        admin.updateConsumeOffset(broker(admin), group, queue, options.longNumber("offset", 0));
                        Main.print("committed", options.longNumber("offset", 0));
                    }
                    case "clone" -> {
                        admin.cloneGroupOffset(group, options.text("to-group"), topic, options.flag("offline"));
                        Main.print("cloned", options.text("to-group"));
                    }
                    case "status" -> {
                        Map<String, Object> clients = new TreeMap<>();
                        admin.getConsumeStatus(topic, group, options.text("client-id", ""))
                            .forEach((client, queues) -> clients.put(client, byQueue(queues)));
                        Main.print("clients", clients);
                    }
                    default -> throw new IllegalArgumentException("unknown verb " + verb);
                }
            } catch (MQBrokerException error) {
                Main.print("code", error.getResponseCode(), "remark", error.getErrorMessage());
            } catch (MQClientException error) {
                Main.print("code", error.getResponseCode(), "remark", String.valueOf(error.getErrorMessage()));
            }
        });
    }

    static String broker(DefaultMQAdminExt admin) throws Exception {
        return admin.examineBrokerClusterInfo().getBrokerAddrTable().values().iterator().next().getBrokerAddrs().get(0L);
    }

    /** 4.9 cannot set a single queue this way. */
    private static void byQueueId(DefaultMQAdminExt admin, Options options) throws Exception {
        try {
            DefaultMQAdminExt.class.getMethod("resetOffsetByQueueId", String.class, String.class, String.class, int.class,
                long.class).invoke(admin, broker(admin), options.text("group"), options.text("topic"),
                    options.number("queue", 0), options.longNumber("offset", 0));
        } catch (java.lang.reflect.InvocationTargetException error) {
            throw error.getCause() instanceof Exception cause ? cause : error;
        }
    }

    private static Map<String, Object> byQueue(Map<MessageQueue, Long> offsets) {
        Map<String, Object> queues = new TreeMap<>();
        offsets.forEach((queue, offset) -> queues.put(String.valueOf(queue.getQueueId()), offset));
        return queues;
    }
}
