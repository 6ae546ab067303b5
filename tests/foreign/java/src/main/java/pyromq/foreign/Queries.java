package pyromq.foreign;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Finding messages again: {@code query-key --topic T --key K}, {@code query-keys --topic T --keys P --first A --count N --step S}
 * (key P with every S-th number; one line for all), {@code query-id|query-unique --topic T --id ID},
 * {@code offsets --topic T [--time MS]}.
 */
final class Queries {
    private static final int FOUND_MAX = 64;
    /** The client asks for a range of store times; a wide one, as mqadmin does. */
    private static final long BEGIN_MS = 0;

    private Queries() {
    }

    static void byKey(Options options) throws Exception {
        Admin.with(options, admin -> {
            List<Object> found = new ArrayList<>();
            for (MessageExt message : find(admin, options.text("topic"), options.text("key"))) {
                found.add(describe(message));
            }
            Main.print("found", found.size(), "messages", found);
        });
    }

    static void manyByKey(Options options) throws Exception {
        Admin.with(options, admin -> {
            BitSet right = new BitSet();
            List<String> missing = new ArrayList<>();
            int step = options.number("step", 1);
            int asked = 0;
            for (int n = options.number("first", 0); asked < options.number("count", 1); n += step, asked++) {
                String key = options.text("keys") + n;
                int wanted = n;
                if (find(admin, options.text("topic"), key).stream().anyMatch(m -> Sample.number(m) == wanted)) {
                    right.set(n);
                } else if (missing.size() < 10) {
                    missing.add(key);
                }
            }
            Main.print("asked", asked, "found", right.cardinality(), "missing", missing);
        });
    }

    static void byId(Options options) throws Exception {
        Admin.with(options, admin ->
            Main.print("message", describe(admin.viewMessage(options.text("topic"), options.text("id")))));
    }

    /** viewMessage takes both kinds of id: one that is no offset id is looked up as a unique key. */
    static void byUniqueKey(Options options) throws Exception {
        byId(options);
    }

    static void offsets(Options options) throws Exception {
        Admin.with(options, admin -> {
            List<MessageQueue> queues = new ArrayList<>();
            for (var data : admin.examineTopicRouteInfo(options.text("topic")).getQueueDatas()) {
                for (int id = 0; id < data.getReadQueueNums(); id++) {
                    queues.add(new MessageQueue(options.text("topic"), data.getBrokerName(), id));
                }
            }
            queues.sort(Comparator.naturalOrder());
            List<Object> rows = new ArrayList<>();
            long messages = 0;
            for (MessageQueue queue : queues) {
                long min = admin.minOffset(queue);
                long max = admin.maxOffset(queue);
                messages += max - min;
                rows.add(Map.of("broker", queue.getBrokerName(), "queue", queue.getQueueId(), "min", min, "max", max,
                    "by_time", admin.searchOffset(queue, options.longNumber("time", 0)),
                    "by_time_now", admin.searchOffset(queue, System.currentTimeMillis() + 60_000),
                    "earliest_store_time", max > min ? admin.earliestMsgStoreTime(queue) : -1L));
            }
            Main.print("messages", messages, "queues", rows);
        });
    }

    private static List<MessageExt> find(DefaultMQAdminExt admin, String topic, String key) throws Exception {
        try {
            QueryResult result = admin.queryMessage(topic, key, FOUND_MAX, BEGIN_MS, Long.MAX_VALUE);
            return result.getMessageList();
        } catch (MQClientException error) {
            if (error.getMessage() != null && error.getMessage().contains("query message by key finished, but no message")) {
                return List.of();
            }
            throw error;
        }
    }

    static Map<String, Object> describe(MessageExt message) {
        return Map.of("id", message.getMsgId(), "number", Sample.number(message), "topic", message.getTopic(),
            "keys", String.valueOf(message.getKeys()), "tags", String.valueOf(message.getTags()),
            "queue", message.getQueueId(), "queue_offset", message.getQueueOffset(),
            "body_size", message.getBody().length, "store_size", message.getStoreSize());
    }
}
