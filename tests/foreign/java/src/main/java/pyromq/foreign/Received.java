package pyromq.foreign;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.zip.CRC32;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageExt;

/** A received message with everything that the client shows of it. */
final class Received {
    private Received() {
    }

    static Map<String, Object> of(MessageExt message) {
        CRC32 crc = new CRC32();
        crc.update(message.getBody());
        Map<String, Object> members = new LinkedHashMap<>();
        members.put("number", Sample.number(message));
        members.put("topic", message.getTopic());
        members.put("queue", message.getQueueId());
        members.put("queue_offset", message.getQueueOffset());
        members.put("times", message.getReconsumeTimes());
        members.put("properties", new TreeMap<>(message.getProperties()));
        members.put("flag", message.getFlag());
        members.put("sys_flag", message.getSysFlag());
        members.put("born_ms", message.getBornTimestamp());
        members.put("stored_ms", message.getStoreTimestamp());
        members.put("body_size", message.getBody().length);
        members.put("body_crc", crc.getValue());
        members.put("store_size", message.getStoreSize());
        members.put("id", message.getMsgId());
        members.put("offset_id",
            message instanceof MessageClientExt client ? client.getOffsetMsgId() : message.getMsgId());
        return members;
    }
}
