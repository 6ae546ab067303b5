package pyromq.foreign;

import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.monitor.DeleteMsgsEvent;
import org.apache.rocketmq.tools.monitor.FailedMsgs;
import org.apache.rocketmq.tools.monitor.MonitorConfig;
import org.apache.rocketmq.tools.monitor.MonitorListener;
import org.apache.rocketmq.tools.monitor.MonitorService;
import org.apache.rocketmq.tools.monitor.UndoneMsgs;

/**
 * {@code monitor}: one round of what mqadmin's startMonitoring does each minute, first after 20 s, and writes into a
 * log. Here each report is a line.
 */
final class Monitoring implements MonitorListener {
    private Monitoring() {
    }

    static void round(Options options) throws Exception {
        MonitorConfig config = new MonitorConfig();
        config.setNamesrvAddr(options.text("namesrv"));
        MonitorService service = new MonitorService(config, new Monitoring(), null);
        service.start();
        try {
            service.doMonitorWork();
        } finally {
            Main.closeAside(service::shutdown);
        }
    }

    @Override
    public void beginRound() {
        Main.print("report", "begin");
    }

    @Override
    public void reportUndoneMsgs(UndoneMsgs undone) {
        Main.print("report", "undone", "group", undone.getConsumerGroup(), "topic", undone.getTopic(),
            "total", undone.getUndoneMsgsTotal(), "single", undone.getUndoneMsgsSingleMQ());
    }

    @Override
    public void reportFailedMsgs(FailedMsgs failed) {
        Main.print("report", "failed", "group", failed.getConsumerGroup(), "topic", failed.getTopic());
    }

    @Override
    public void reportDeleteMsgsEvent(DeleteMsgsEvent event) {
        Main.print("report", "deleted");
    }

    /** A map without types: those of running info have another package in old clients. */
    @Override
    @SuppressWarnings({"rawtypes", "unchecked"})
    public void reportConsumerRunningInfo(TreeMap infos) {
        infos.values().forEach(info -> Main.print("report", "running",
            "topics", String.join(",", queuesOf(info).keySet().stream()
                .map(MessageQueue::getTopic).sorted().distinct().toList())));
    }

    @SuppressWarnings("unchecked")
    private static Map<MessageQueue, ?> queuesOf(Object info) {
        try {
            return (Map<MessageQueue, ?>) info.getClass().getMethod("getMqTable").invoke(info);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public void endRound() {
        Main.print("report", "end");
    }
}
