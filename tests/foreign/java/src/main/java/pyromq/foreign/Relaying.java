package pyromq.foreign;

import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

/**
 * What the server asks a client for the one who asked it: {@code relay running-info --group G --client-id ID [--jstack]},
 * {@code relay consume-directly --group G --client-id ID --topic T --id MESSAGE}.
 */
final class Relaying {
    private Relaying() {
    }

    static void run(Options options) throws Exception {
        String verb = options.positional().get(0);
        String group = options.text("group");
        String client = options.text("client-id");
        Admin.with(options, admin -> {
            try {
                switch (verb) {
                    case "running-info" -> {
                        var info = admin.getConsumerRunningInfo(group, client, options.flag("jstack"));
                        Map<String, Object> properties = new TreeMap<>();
                        info.getProperties().forEach((name, value) ->
                            properties.put(String.valueOf(name), String.valueOf(value)));
                        Map<String, Object> queues = new TreeMap<>();
                        info.getMqTable().forEach((queue, state) ->
                            queues.put(queue.getTopic() + "/" + queue.getQueueId(),
                                Map.of("committed", state.getCommitOffset(), "cached", state.getCachedMsgCount(),
                                    "dropped", state.isDroped())));
                        Map<String, Object> subscriptions = new TreeMap<>();
                        info.getSubscriptionSet().forEach(one -> subscriptions.put(one.getTopic(), one.getSubString()));
                        Main.print("properties", properties, "queues", queues, "subscriptions", subscriptions,
                            "statuses", new TreeSet<>(info.getStatusTable().keySet()),
                            "jstack", info.getJstack());
                    }
                    case "consume-directly" -> {
                        var result =
                            admin.consumeMessageDirectly(group, client, options.text("topic"), options.text("id"));
                        Main.print("order", result.isOrder(), "auto_commit", result.isAutoCommit(),
                            "result", result.getConsumeResult().name(), "remark", result.getRemark(),
                            "spent_ms", result.getSpentTimeMills());
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
}
