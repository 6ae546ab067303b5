package pyromq.foreign;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.trace.TraceBean;
import org.apache.rocketmq.client.trace.TraceContext;
import org.apache.rocketmq.client.trace.TraceDataEncoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * {@code traces --topic TRACES --id MESSAGE --expect N}: the records of a message's trace by their time, as soon as there
 * are N, found by the message's id as mqadmin and the dashboard find them.
 */
final class Tracing {
    private static final int FOUND_MAX = 64;
    private static final long PAUSE_MS = 50;

    private Tracing() {
    }

    static void traces(Options options) throws Exception {
        long deadline = options.deadlineNanos();
        Admin.with(options, admin -> {
            List<TraceContext> records = records(admin, options);
            while (records.size() < options.number("expect", 1) && System.nanoTime() < deadline) {
                Thread.sleep(PAUSE_MS);
                records = records(admin, options);
            }
            // Both records of a delivery may have the same time.
            records.sort(Comparator.comparing(TraceContext::getTimeStamp).thenComparing(TraceContext::getTraceType));
            List<Object> rows = new ArrayList<>();
            for (TraceContext record : records) {
                rows.add(row(record, options.text("id")));
            }
            Main.print("traces", rows);
        });
    }

    private static List<TraceContext> records(DefaultMQAdminExt admin, Options options) throws Exception {
        List<TraceContext> records = new ArrayList<>();
        try {
            var found = admin.queryMessage(options.text("topic"), options.text("id"), FOUND_MAX, 0, Long.MAX_VALUE);
            for (MessageExt message : found.getMessageList()) {
                String text = new String(message.getBody(), StandardCharsets.UTF_8);
                for (TraceContext record : TraceDataEncoder.decoderFromTraceDataString(text)) {
                    if (bean(record, options.text("id")) != null) {
                        records.add(record);
                    }
                }
            }
        } catch (MQClientException error) {
            if (!String.valueOf(error.getMessage()).contains("no message")
                && !String.valueOf(error.getMessage()).contains("can not find")) {
                throw error;
            }
        }
        return records;
    }

    private static TraceBean bean(TraceContext record, String id) {
        return record.getTraceBeans().stream().filter(bean -> id.equals(bean.getMsgId())).findFirst().orElse(null);
    }

    private static Map<String, Object> row(TraceContext record, String id) {
        TraceBean bean = bean(record, id);
        Map<String, Object> row = new TreeMap<>();
        row.put("type", record.getTraceType().name());
        row.put("group", record.getGroupName());
        row.put("region", record.getRegionId());
        row.put("success", record.isSuccess());
        row.put("code", record.getContextCode());
        row.put("topic", bean.getTopic());
        row.put("keys", bean.getKeys());
        row.put("tags", bean.getTags());
        row.put("body_length", bean.getBodyLength());
        row.put("retry_times", bean.getRetryTimes());
        row.put("kind", bean.getMsgType() == null ? null : bean.getMsgType().name());
        row.put("offset_id", bean.getOffsetMsgId());
        return row;
    }
}
