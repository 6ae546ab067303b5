package pyromq.foreign;

import java.util.ArrayList;
import java.util.Base64;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * What a group has consumed in this JVM: {@code ledger --group G} tells it, {@code await --group G [--distinct N]
 * [--member M] [--held M] [--timeout S]} waits until so much is there, something of this member, this member hanging.
 * {@code release --group G} lets go what hangs in the middle of a message.
 */
final class Ledger {
    private static final Map<String, Ledger> LEDGERS = new ConcurrentHashMap<>();

    /**
     * Who consumes, and when it hangs: for ever when it has consumed {@code fill}, as one that is about to crash, so what
     * it consumed before is known for certain; and in the middle of message {@code hold} until it is released.
     */
    record Part(String member, int fill, int hold) {
    }

    /** Consecutive messages of a queue while one member had it; times are the machine's monotonic clock. */
    private static final class Stint {
        final String member;
        final Object assignment;
        final long firstOffset;
        final long beganNanos = System.nanoTime();
        long lastOffset;
        long endedNanos = beganNanos;

        Stint(String member, Object assignment, long offset) {
            this.member = member;
            this.assignment = assignment;
            firstOffset = offset;
            lastOffset = offset;
        }
    }

    /** A message that a listener refused, and what its queue brought next. */
    private static final class Refusal {
        final int number;
        final int queue;
        final String member;
        int nextNumber = -1;
        String nextMember = "";
        int times;

        Refusal(int number, int queue, String member) {
            this.number = number;
            this.queue = queue;
            this.member = member;
        }
    }

    private final BitSet numbers = new BitSet();
    private final BitSet refused = new BitSet();
    private final Map<String, Integer> members = new TreeMap<>();
    private final Map<String, Integer> topics = new TreeMap<>();
    private final Set<String> held = new TreeSet<>();
    private final Map<String, List<Stint>> stints = new TreeMap<>();
    private final List<Refusal> refusals = new ArrayList<>();
    private int received;
    private int wrong;
    private boolean isReleased;

    private Ledger() {
    }

    static Ledger of(String group) {
        return LEDGERS.computeIfAbsent(group, name -> new Ledger());
    }

    /**
     * Notes a message that a member consumes; {@code assignment} stands for its having the queue without a break, and is
     * null where order does not matter.
     */
    synchronized void note(Part part, MessageExt message, Object assignment) throws InterruptedException {
        String member = part.member();
        int number = Sample.number(message);
        while (members.getOrDefault(member, 0) >= part.fill() || number == part.hold() && !isReleased) {
            // Not each time round: what hangs here would wake each other for ever.
            if (held.add(member)) {
                notifyAll();
            }
            wait();
        }
        received++;
        if (number < 0) {
            wrong++;
        } else {
            numbers.set(number);
        }
        members.merge(member, 1, Integer::sum);
        topics.merge(message.getTopic(), 1, Integer::sum);
        if (assignment != null) {
            follow(member, message, assignment);
            answerRefusal(member, message, number);
        }
        notifyAll();
    }

    private void follow(String member, MessageExt message, Object assignment) {
        List<Stint> ofQueue = stints.computeIfAbsent(String.valueOf(message.getQueueId()), id -> new ArrayList<>());
        Stint last = ofQueue.isEmpty() ? null : ofQueue.get(ofQueue.size() - 1);
        if (last != null && last.assignment == assignment && last.lastOffset + 1 == message.getQueueOffset()) {
            last.lastOffset++;
            last.endedNanos = System.nanoTime();
        } else {
            ofQueue.add(new Stint(member, assignment, message.getQueueOffset()));
        }
    }

    private void answerRefusal(String member, MessageExt message, int number) {
        for (Refusal refusal : refusals) {
            if (refusal.nextNumber < 0 && refusal.queue == message.getQueueId()) {
                refusal.nextNumber = number;
                refusal.nextMember = member;
                refusal.times = message.getReconsumeTimes();
            }
        }
    }

    /** Whether this number is to be refused: only the first time. */
    synchronized boolean isRefused(String member, MessageExt message, int wanted) {
        int number = Sample.number(message);
        if (number != wanted || refused.get(number)) {
            return false;
        }
        refused.set(number);
        refusals.add(new Refusal(number, message.getQueueId(), member));
        return true;
    }

    static void await(Options options) throws Exception {
        Ledger ledger = of(options.text("group"));
        ledger.awaitUntil(options, () -> ledger.numbers.cardinality() >= options.number("distinct", 0)
            && (!options.has("member") || ledger.members.containsKey(options.text("member")))
            && (!options.has("held") || ledger.held.contains(options.text("held"))));
        ledger.report(options.text("group"));
    }

    static void report(Options options) {
        of(options.text("group")).report(options.text("group"));
    }

    static void release(Options options) {
        Ledger ledger = of(options.text("group"));
        synchronized (ledger) {
            ledger.isReleased = true;
            ledger.notifyAll();
        }
        Main.print("released", options.text("group"));
    }

    private synchronized void awaitUntil(Options options, BooleanSupplier isTrue) throws Exception {
        long deadline = options.deadlineNanos();
        while (!isTrue.getAsBoolean()) {
            if (System.nanoTime() >= deadline) {
                throw new TimeoutException(numbers.cardinality() + " distinct, held " + held + ", missing from "
                    + numbers.nextClearBit(0) + ", by member " + members);
            }
            wait(Math.max(1, Options.millisUntil(deadline)));
        }
    }

    private synchronized void report(String group) {
        Map<String, Object> queues = new TreeMap<>();
        stints.forEach((queue, all) -> {
            List<Object> rows = new ArrayList<>();
            for (Stint stint : all) {
                rows.add(List.of(stint.member, stint.firstOffset, stint.lastOffset, stint.beganNanos, stint.endedNanos));
            }
            queues.put(queue, rows);
        });
        List<Object> refusalRows = new ArrayList<>();
        for (Refusal refusal : refusals) {
            refusalRows.add(Map.of("number", refusal.number, "next", refusal.nextNumber, "times", refusal.times,
                "same_member", refusal.member.equals(refusal.nextMember)));
        }
        Main.print(
            "group", group,
            "received", received,
            "distinct", numbers.cardinality(),
            "duplicates", received - wrong - numbers.cardinality(),
            "wrong", wrong,
            "members", members,
            "topics", topics,
            "held", held,
            "refused", refusalRows,
            "stints", queues,
            "seen", Base64.getEncoder().encodeToString(numbers.toByteArray()));
    }
}
