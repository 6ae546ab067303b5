package pyromq.foreign;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * The messages of the tests, the same in every language: message n has key {@code <prefix><n>} and a
 * body "n key filler", in which each byte of the filler follows from n. So whoever receives it can
 * tell the number and whether a single byte is wrong. Two user properties go along; one of them is not ASCII.
 */
final class Sample {
    static final String TEXT = "Grüße 消息";
    private static final byte[] ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789".getBytes(StandardCharsets.US_ASCII);

    private Sample() {
    }

    static byte[] body(int number, String key, int size) {
        byte[] head = (number + " " + key + " ").getBytes(StandardCharsets.UTF_8);
        byte[] body = Arrays.copyOf(head, Math.max(size, head.length));
        for (int i = head.length; i < body.length; i++) {
            body[i] = ALPHABET[(number + i) % ALPHABET.length];
        }
        return body;
    }

    static Message message(Options options, int number) {
        String[] tags = options.text("tags", "").split(",");
        String key = options.text("keys", "key-") + number;
        Message message = new Message(options.text("topic"), body(number, key, options.number("body-size", 64)));
        message.setKeys(key);
        String tag = tags[number % tags.length];
        if (!tag.isEmpty()) {
            message.setTags(tag);
        }
        message.putUserProperty("origin", "java");
        message.putUserProperty("text", TEXT);
        return message;
    }

    /** The number in the body, or -1 when a byte of the body, the key or the text property is wrong. */
    static int number(MessageExt message) {
        String[] words = new String(message.getBody(), StandardCharsets.UTF_8).split(" ", 3);
        try {
            int number = Integer.parseInt(words[0]);
            boolean isRight = Arrays.equals(body(number, words[1], message.getBody().length), message.getBody())
                && words[1].equals(message.getKeys())
                && TEXT.equals(message.getUserProperty("text"));
            return isRight ? number : -1;
        } catch (NumberFormatException | ArrayIndexOutOfBoundsException error) {
            return -1;
        }
    }
}
