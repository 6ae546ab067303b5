package pyromq.foreign;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * {@code post --topic T --count N} with what a message can carry: {@code [--levels 1,2,3] (delay levels in turn)
 * [--queue 0] [--body sample|bytes|noise|zeros --body-size N] [--key-text "a b"] [--properties "k=v;k=v"]
 * [--property-size N] [--flag 7] [--buyer B] [--shard S] [--compress-over N] [--compress-type LZ4]
 * [--compress-level 9]}. Tells for each message where it went, or with which code it was refused.
 */
final class Posting {
    private static final long NOISE_SEED = 20;

    private Posting() {
    }

    static void post(Options options) throws Exception {
        System.setProperty("rocketmq.message.compressType", options.text("compress-type", "ZLIB"));
        System.setProperty("rocketmq.message.compressLevel", options.text("compress-level", "5"));
        DefaultMQProducer producer = Clients.producer(options);
        producer.setRetryTimesWhenSendFailed(0);
        producer.setCompressMsgBodyOverHowmuch(options.number("compress-over", Integer.MAX_VALUE));
        producer.start();
        List<Object> posted = new ArrayList<>();
        try {
            int first = options.number("first", 0);
            for (int n = first; n < first + options.number("count", 1); n++) {
                posted.add(one(producer, options, n));
            }
        } finally {
            if (options.flag("trace")) {
                producer.getTraceDispatcher().flush();
            } else {
                Main.closeAside(producer::shutdown);
            }
        }
        Main.print("messages", posted, "client_id", producer.buildMQClientId());
    }

    private static Map<String, Object> one(DefaultMQProducer producer, Options options, int number) throws Exception {
        Message message = message(options, number);
        CRC32 crc = new CRC32();
        crc.update(message.getBody());
        long before = System.currentTimeMillis();
        try {
            SendResult result = options.has("queue") ? producer.send(message, queue(producer, options))
                : producer.send(message);
            Map<String, Object> row = new TreeMap<>();
            row.put("number", number);
            row.put("status", result.getSendStatus().name());
            row.put("id", result.getMsgId());
            row.put("offset_id", result.getOffsetMsgId());
            row.put("topic", result.getMessageQueue().getTopic());
            row.put("queue", result.getMessageQueue().getQueueId());
            row.put("queue_offset", result.getQueueOffset());
            row.put("before_ms", before);
            row.put("body_crc", crc.getValue());
            return row;
        } catch (MQBrokerException error) {
            return Map.of("number", number, "code", error.getResponseCode(), "remark", error.getErrorMessage());
        } catch (MQClientException error) {
            return Map.of("number", number, "code", error.getResponseCode(),
                "remark", String.valueOf(error.getErrorMessage()));
        }
    }

    private static MessageQueue queue(DefaultMQProducer producer, Options options) throws Exception {
        for (MessageQueue queue : producer.fetchPublishMessageQueues(options.text("topic"))) {
            if (queue.getQueueId() == options.number("queue", 0)) {
                return queue;
            }
        }
        throw new IllegalArgumentException("no queue " + options.text("queue"));
    }

    private static Message message(Options options, int number) {
        Message message = Sample.message(options, number);
        if (options.has("levels")) {
            String[] levels = options.text("levels").split(",");
            message.setDelayTimeLevel(Integer.parseInt(levels[number % levels.length]));
        }
        if (options.has("body")) {
            message.setBody(body(options.text("body"), options.number("body-size", 64)));
        }
        if (options.has("key-text")) {
            message.setKeys(options.text("key-text"));
        }
        if (options.has("property-size")) {
            message.putUserProperty("long", "x".repeat(options.number("property-size", 1)));
        }
        if (options.has("properties")) {
            for (String property : options.text("properties").split(";")) {
                String[] parts = property.split("=", 2);
                message.putUserProperty(parts[0], parts[1]);
            }
        }
        message.setFlag(options.number("flag", 0));
        if (options.has("buyer")) {
            message.setBuyerId(options.text("buyer"));
        }
        if (options.has("shard")) {
            message.putUserProperty("__SHARDINGKEY", options.text("shard"));
        }
        return message;
    }

    /** Each of the 256 bytes in turn, bytes that cannot be compressed, or one byte all along. */
    private static byte[] body(String kind, int size) {
        byte[] body = new byte[size];
        switch (kind) {
            case "bytes" -> {
                for (int i = 0; i < size; i++) {
                    body[i] = (byte) i;
                }
            }
            case "noise" -> new Random(NOISE_SEED).nextBytes(body);
            case "zeros" -> { }
            default -> throw new IllegalArgumentException("unknown kind of body " + kind);
        }
        return body;
    }
}
