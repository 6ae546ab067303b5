package pyromq.foreign;

import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/**
 * Clients with the options that several subcommands share: {@code [--namespace NS | --namespace-v2 NS] [--trace
 * [--trace-topic T]]}. Each has an instance, and so connections, of its own. But the senders of traces share one per
 * name server: where one ends while another begins, that one's traces are lost. So clients that trace are not closed.
 */
final class Clients {
    /** As in {@link Consuming}: a lost heartbeat at the start must not cost 30 s. */
    private static final int HEARTBEAT_INTERVAL_MS = 1000;
    private static final int COMMIT_INTERVAL_MS = 200;
    /** A group's first consumer asks for the route of its retry topic before that exists; the default is 30 s. */
    private static final int ROUTE_INTERVAL_MS = 200;
    /** Records of a trace that wait for each other, at most 5 s: both of a delivery go together. */
    private static final int TRACE_BATCH = 2;
    private static final int SHUTDOWN_MS = 5000;
    private static final int SEND_TIMEOUT_MS = 20_000;
    /** More than any server takes: the server, not its client, refuses what is too big. */
    private static final int MESSAGE_SIZE_MAX = 64 * 1024 * 1024;

    private Clients() {
    }

    static DefaultMQProducer producer(Options options) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(options.text("producer-group", "pyromq-java-producer"),
            options.flag("trace"), options.text("trace-topic", null));
        settle(producer, options, "producer");
        producer.setSendMsgTimeout(SEND_TIMEOUT_MS);
        producer.setMaxMessageSize(MESSAGE_SIZE_MAX);
        return producer;
    }

    static DefaultMQPushConsumer pushConsumer(Options options) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(options.text("group"), options.flag("trace"),
            options.text("trace-topic", null));
        settle(consumer, options, "push");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // What was heard counts as consumed once the listener has returned.
        consumer.setAwaitTerminationMillisWhenShutdown(SHUTDOWN_MS);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.setMaxReconsumeTimes(options.number("max-times", -1));
        return consumer;
    }

    /**
     * Ends a consumer. When this returns its offsets are committed and it has left its group; its connections may
     * take 3 s more, as one of the client's threads looks up no sooner.
     */
    static void leave(DefaultMQPushConsumer consumer) throws InterruptedException {
        Thread closing = Main.closeAside(consumer::shutdown);
        while (closing.isAlive() && !isClosingConnections(closing)) {
            Thread.sleep(1);
        }
    }

    private static boolean isClosingConnections(Thread thread) {
        for (StackTraceElement frame : thread.getStackTrace()) {
            if (frame.getClassName().equals("org.apache.rocketmq.remoting.netty.NettyRemotingClient")
                && frame.getMethodName().equals("shutdown")) {
                return true;
            }
        }
        return false;
    }

    @SuppressWarnings("deprecation")
    static void settle(ClientConfig client, Options options, String kind) throws ReflectiveOperationException {
        client.setNamesrvAddr(options.text("namesrv"));
        client.setClientIP("127.0.0.1");
        client.setInstanceName(kind + "-" + System.nanoTime());
        client.setHeartbeatBrokerInterval(HEARTBEAT_INTERVAL_MS);
        client.setPersistConsumerOffsetInterval(COMMIT_INTERVAL_MS);
        client.setPollNameServerInterval(ROUTE_INTERVAL_MS);
        if (options.has("namespace")) {
            client.setNamespace(options.text("namespace"));
        }
        // 4.9 has neither this size nor namespaces of the second kind.
        if (options.flag("trace")) {
            ClientConfig.class.getMethod("setTraceMsgBatchNum", int.class).invoke(client, TRACE_BATCH);
        }
        if (options.has("namespace-v2")) {
            ClientConfig.class.getMethod("setNamespaceV2", String.class).invoke(client, options.text("namespace-v2"));
        }
    }
}
