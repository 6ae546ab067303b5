package pyromq.foreign;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * {@code request --topic T --mode sync|async --count N [--first 0] [--timeout-ms 10000]}: sends requests and tells for
 * each number what came back; {@code listen --answer} is the other side.
 */
final class Requesting {
    private final Map<Integer, String> bodies = new TreeMap<>();
    private final Map<Integer, String> failures = new TreeMap<>();
    private Map<String, Object> sample = new HashMap<>();

    private Requesting() {
    }

    /** An answer says to which number and text it belongs. */
    static void answer(DefaultMQProducer producer, MessageExt request) {
        try {
            String text = "answer to " + Sample.number(request) + " for " + MessageUtil.getReplyToClient(request);
            producer.send(MessageUtil.createReplyMessage(request, text.getBytes(StandardCharsets.UTF_8)));
        } catch (Exception error) {
            error.printStackTrace();
        }
    }

    static void request(Options options) throws Exception {
        Requesting requesting = new Requesting();
        DefaultMQProducer producer = Clients.producer(options);
        producer.start();
        long start = System.nanoTime();
        try {
            // The first use of a topic asks the name server, within the time of the request.
            producer.fetchPublishMessageQueues(options.text("topic"));
            if (options.text("mode").equals("sync")) {
                requesting.oneByOne(producer, options);
            } else {
                requesting.allAtOnce(producer, options);
            }
        } finally {
            Main.closeAside(producer::shutdown);
        }
        synchronized (requesting) {
            Main.print("client_id", producer.buildMQClientId(), "bodies", requesting.bodies,
                "failures", requesting.failures, "sample", requesting.sample,
                "elapsed_ms", (System.nanoTime() - start) / 1_000_000);
        }
    }

    private static List<Integer> numbers(Options options) {
        List<Integer> numbers = new ArrayList<>();
        for (int n = options.number("first", 0); numbers.size() < options.number("count", 1); n++) {
            numbers.add(n);
        }
        return numbers;
    }

    private void oneByOne(DefaultMQProducer producer, Options options) throws Exception {
        for (int n : numbers(options)) {
            try {
                answered(n, producer.request(Sample.message(options, n), options.number("timeout-ms", 10_000)));
            } catch (RequestTimeoutException error) {
                failed(n, error);
            }
        }
    }

    private void allAtOnce(DefaultMQProducer producer, Options options) throws Exception {
        CountDownLatch left = new CountDownLatch(options.number("count", 1));
        for (int n : numbers(options)) {
            producer.request(Sample.message(options, n), new RequestCallback() {
                @Override
                public void onSuccess(Message message) {
                    answered(n, message);
                    left.countDown();
                }

                @Override
                public void onException(Throwable error) {
                    failed(n, error);
                    left.countDown();
                }
            }, options.number("timeout-ms", 10_000));
        }
        if (!left.await(options.number("timeout", 60), TimeUnit.SECONDS)) {
            throw new IllegalStateException(left.getCount() + " callbacks missing");
        }
    }

    private synchronized void answered(int number, Message answer) {
        bodies.put(number, new String(answer.getBody(), StandardCharsets.UTF_8));
        sample = Map.of("topic", String.valueOf(answer.getTopic()), "flag", answer.getFlag(),
            "properties", new TreeMap<>(answer.getProperties()));
    }

    private synchronized void failed(int number, Throwable error) {
        failures.put(number, error.getClass().getSimpleName());
    }
}
