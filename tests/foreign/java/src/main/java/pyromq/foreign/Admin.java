package pyromq.foreign;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * {@code admin VERB [--broker ADDR] [--topic T] [--group G] …}: one call of the admin client each.
 *
 * <p>Types of answers are {@code var} where 4.9 and 5.x keep them in different packages.
 */
final class Admin {
    private static final long TIMEOUT_MS = 10_000;

    @FunctionalInterface
    interface Use {
        void use(DefaultMQAdminExt admin) throws Exception;
    }

    private Admin() {
    }

    static void with(Options options, Use use) throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(TIMEOUT_MS);
        admin.setNamesrvAddr(options.text("namesrv"));
        admin.setClientIP("127.0.0.1");
        admin.setInstanceName("admin-" + System.nanoTime());
        admin.start();
        try {
            use.use(admin);
        } finally {
            Main.closeAside(admin::shutdown);
        }
    }

    static void run(Options options) throws Exception {
        String verb = options.positional().get(0);
        with(options, admin -> {
            switch (verb) {
                case "topic-create" -> createTopic(admin, options);
                case "topic-delete" -> deleteTopic(admin, options);
                case "topic-list" -> Main.print("topics", new TreeSet<>(admin.fetchAllTopicList().getTopicList()));
                case "topic-config" -> topicConfig(admin, options);
                case "topic-stats" -> topicStats(admin, options);
                case "topic-route" -> topicRoute(admin, options);
                case "cluster" -> cluster(admin);
                case "runtime" -> Main.print("table",
                    new TreeMap<>(admin.fetchBrokerRuntimeStats(broker(admin, options)).getTable()));
                case "groups" -> Main.print("groups",
                    new TreeSet<>(admin.getAllSubscriptionGroup(broker(admin, options), TIMEOUT_MS)
                        .getSubscriptionGroupTable().keySet()));
                case "group-delete" -> {
                    admin.deleteSubscriptionGroup(broker(admin, options), options.text("group"), true);
                    Main.print("deleted", options.text("group"));
                }
                case "consumers" -> consumers(admin, options);
                case "producers" -> producers(admin, options);
                case "progress" -> progress(admin, options);
                default -> throw new IllegalArgumentException("unknown verb " + verb);
            }
        });
    }

    /** The given broker, or the only master of the cluster. */
    private static String broker(DefaultMQAdminExt admin, Options options) throws Exception {
        if (options.has("broker")) {
            return options.text("broker");
        }
        return admin.examineBrokerClusterInfo().getBrokerAddrTable().values().iterator().next().getBrokerAddrs().get(0L);
    }

    private static void createTopic(DefaultMQAdminExt admin, Options options) throws Exception {
        TopicConfig config = new TopicConfig(options.text("topic"));
        config.setReadQueueNums(options.number("queues", 4));
        config.setWriteQueueNums(options.number("queues", 4));
        config.setPerm(options.number("perm", 6));
        String broker = broker(admin, options);
        admin.createAndUpdateTopicConfig(broker, config);
        // The broker tells the name server on its own; a topic is created when clients can find it.
        long deadline = options.deadlineNanos();
        while (!isRouted(admin, options)) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("no route of " + options.text("topic"));
            }
            Thread.sleep(5);
        }
        Main.print("created", options.text("topic"), "broker", broker);
    }

    private static boolean isRouted(DefaultMQAdminExt admin, Options options) throws Exception {
        try {
            return admin.examineTopicRouteInfo(options.text("topic")).getQueueDatas().stream()
                .anyMatch(data -> data.getWriteQueueNums() == options.number("queues", 4)
                    && data.getPerm() == options.number("perm", 6));
        } catch (org.apache.rocketmq.client.exception.MQClientException error) {
            return false;
        }
    }

    private static void deleteTopic(DefaultMQAdminExt admin, Options options) throws Exception {
        admin.deleteTopicInBroker(new HashSet<>(Set.of(broker(admin, options))), options.text("topic"));
        admin.deleteTopicInNameServer(new HashSet<>(admin.getNameServerAddressList()),
            options.text("cluster", "DefaultCluster"), options.text("topic"));
        Main.print("deleted", options.text("topic"));
    }

    private static void topicConfig(DefaultMQAdminExt admin, Options options) throws Exception {
        TopicConfig config = admin.examineTopicConfig(broker(admin, options), options.text("topic"));
        Main.print("topic", config.getTopicName(), "read_queues", config.getReadQueueNums(),
            "write_queues", config.getWriteQueueNums(), "perm", config.getPerm());
    }

    private static void topicStats(DefaultMQAdminExt admin, Options options) throws Exception {
        List<Object> rows = new ArrayList<>();
        long messages = 0;
        var table = admin.examineTopicStats(options.text("topic")).getOffsetTable();
        for (var entry : new TreeMap<>(table).entrySet()) {
            var offsets = entry.getValue();
            messages += offsets.getMaxOffset() - offsets.getMinOffset();
            rows.add(Map.of("broker", entry.getKey().getBrokerName(), "queue", entry.getKey().getQueueId(),
                "min", offsets.getMinOffset(), "max", offsets.getMaxOffset(), "updated", offsets.getLastUpdateTimestamp()));
        }
        Main.print("messages", messages, "queues", rows);
    }

    private static void topicRoute(DefaultMQAdminExt admin, Options options) throws Exception {
        var route = admin.examineTopicRouteInfo(options.text("topic"));
        Map<String, Object> brokers = new TreeMap<>();
        for (var data : route.getBrokerDatas()) {
            brokers.put(data.getBrokerName(), new TreeMap<>(data.getBrokerAddrs()));
        }
        Map<String, Object> queues = new TreeMap<>();
        for (var data : route.getQueueDatas()) {
            queues.put(data.getBrokerName(), Map.of("read", data.getReadQueueNums(), "write", data.getWriteQueueNums(),
                "perm", data.getPerm()));
        }
        Main.print("brokers", brokers, "queues", queues);
    }

    private static void cluster(DefaultMQAdminExt admin) throws Exception {
        var info = admin.examineBrokerClusterInfo();
        Map<String, Object> brokers = new TreeMap<>();
        info.getBrokerAddrTable().forEach((name, data) ->
            brokers.put(name, Map.of("cluster", data.getCluster(), "addresses", new TreeMap<>(data.getBrokerAddrs()))));
        Map<String, Object> clusters = new TreeMap<>();
        info.getClusterAddrTable().forEach((name, members) -> clusters.put(name, new TreeSet<>(members)));
        Main.print("brokers", brokers, "clusters", clusters);
    }

    private static void consumers(DefaultMQAdminExt admin, Options options) throws Exception {
        var connection = admin.examineConsumerConnectionInfo(options.text("group"));
        List<Object> clients = new ArrayList<>();
        for (var one : connection.getConnectionSet()) {
            clients.add(Map.of("id", one.getClientId(), "language", one.getLanguage().name(), "version", one.getVersion()));
        }
        Map<String, Object> subscriptions = new TreeMap<>();
        connection.getSubscriptionTable().forEach((topic, data) -> subscriptions.put(topic, data.getSubString()));
        Main.print("clients", clients, "subscriptions", subscriptions, "model", connection.getMessageModel().name(),
            "type", connection.getConsumeType().name(), "from", connection.getConsumeFromWhere().name());
    }

    private static void producers(DefaultMQAdminExt admin, Options options) throws Exception {
        List<Object> clients = new ArrayList<>();
        for (var one : admin.examineProducerConnectionInfo(options.text("group"), options.text("topic")).getConnectionSet()) {
            clients.add(Map.of("id", one.getClientId(), "language", one.getLanguage().name(), "version", one.getVersion()));
        }
        Main.print("clients", clients);
    }

    private static void progress(DefaultMQAdminExt admin, Options options) throws Exception {
        Map<String, Object> queues = new TreeMap<>();
        long behind = 0;
        for (var entry : admin.examineConsumeStats(options.text("group"), options.text("topic")).getOffsetTable().entrySet()) {
            var offsets = entry.getValue();
            behind += offsets.getBrokerOffset() - offsets.getConsumerOffset();
            queues.put(String.valueOf(entry.getKey().getQueueId()),
                Map.of("broker", offsets.getBrokerOffset(), "consumer", offsets.getConsumerOffset()));
        }
        Main.print("behind", behind, "queues", queues);
    }
}
