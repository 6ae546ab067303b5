package pyromq.foreign;

import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.common.MQVersion;

/**
 * An unmodified Apache RocketMQ Java client as a command: each subcommand does one thing against a
 * server and prints JSON objects, one per line, on stdout. A JVM start costs a second, so several
 * subcommands may share one:
 *
 * <pre>
 * Main --namesrv ADDR send --topic T --count 10 -- consume-push --topic T --expect 10
 * Main --namesrv ADDR session        one subcommand per line on stdin, arguments separated by tabs
 * </pre>
 *
 * After each subcommand comes {"end":NAME,"ok":true}, or with "ok":false and an "error". The exit
 * status is 1 when one failed.
 */
public final class Main {
    /** The real stdout: everything else in this JVM that prints is sent to stderr. */
    static final PrintStream OUT =
        new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

    @FunctionalInterface
    interface Subcommand {
        void run(Options options) throws Exception;
    }

    private static final Map<String, Subcommand> SUBCOMMANDS = new TreeMap<>(Map.ofEntries(
        Map.entry("version", options -> print()),
        Map.entry("send", Sending::send),
        Map.entry("consume-push", Consuming::push),
        Map.entry("consume-pull", Consuming::pull),
        Map.entry("consume-assign", Consuming::assign),
        Map.entry("query-key", Queries::byKey),
        Map.entry("query-keys", Queries::manyByKey),
        Map.entry("query-id", Queries::byId),
        Map.entry("query-unique", Queries::byUniqueKey),
        Map.entry("offsets", Queries::offsets),
        Map.entry("listen", Listening::begin),
        Map.entry("heard", Listening::heard),
        Map.entry("unlisten", Listening::end),
        Map.entry("post", Posting::post),
        Map.entry("fetch", Fetching::fetch),
        Map.entry("resend", Fetching::resend),
        Map.entry("request", Requesting::request),
        Map.entry("rewind", Rewinding::run),
        Map.entry("relay", Relaying::run),
        Map.entry("traces", Tracing::traces),
        Map.entry("join", Members::join),
        Map.entry("leave", Members::leave),
        Map.entry("settled", Members::settled),
        Map.entry("await", Ledger::await),
        Map.entry("ledger", Ledger::report),
        Map.entry("flow", Flow::start),
        Map.entry("flow-allow", Flow::allow),
        Map.entry("flow-sent", Flow::sent),
        Map.entry("release", Ledger::release),
        Map.entry("admin", Admin::run),
        Map.entry("monitor", Monitoring::round),
        // Not by reference: that would load the class, and old clients come without the filter.
        Map.entry("filter", options -> Filtering.run(options)),
        Map.entry("mqadmin", Mqadmin::run)));

    private static boolean hasFailed;
    private static final List<Thread> CLOSING = new ArrayList<>();

    private Main() {
    }

    public static void main(String[] args) throws Exception {
        System.setOut(System.err);
        List<String> global = new ArrayList<>();
        int at = 0;
        while (at < args.length && args[at].startsWith("--")) {
            global.add(args[at++]);
            global.add(args[at++]);
        }
        if (at == args.length || (!args[at].equals("session") && !SUBCOMMANDS.containsKey(args[at]))) {
            System.err.println("usage: --namesrv ADDR SUBCOMMAND [--option value]… [-- SUBCOMMAND …]\n"
                + "subcommands: session " + String.join(" ", SUBCOMMANDS.keySet()));
            System.exit(2);
        }
        if (args[at].equals("session")) {
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                run(global, List.of(line.split("\t")));
            }
        } else {
            List<String> one = new ArrayList<>();
            for (; at < args.length; at++) {
                if (args[at].equals("--")) {
                    run(global, one);
                    one = new ArrayList<>();
                } else {
                    one.add(args[at]);
                }
            }
            run(global, one);
        }
        for (Thread thread : CLOSING) {
            thread.join();
        }
        // The client leaves non-daemon threads behind; results are printed, so leave at once.
        Runtime.getRuntime().halt(hasFailed ? 1 : 0);
    }

    private static void run(List<String> global, List<String> words) {
        String name = words.get(0);
        try {
            List<String> all = new ArrayList<>(global);
            all.addAll(words.subList(1, words.size()));
            Subcommand subcommand = SUBCOMMANDS.get(name);
            if (subcommand == null) {
                throw new IllegalArgumentException("no such subcommand: " + name);
            }
            subcommand.run(new Options(all));
            print("end", name, "ok", true);
        } catch (Throwable error) {
            hasFailed = true;
            error.printStackTrace();
            print("end", name, "ok", false, "error", error.toString());
        }
    }

    /** Closes a client aside: its shutdown joins a thread that looks up only every 3 s. */
    static Thread closeAside(Runnable shutdown) {
        Thread thread = new Thread(shutdown, "closing");
        thread.start();
        CLOSING.add(thread);
        return thread;
    }

    static String version() {
        String version = MQVersion.getVersionDesc(MQVersion.CURRENT_VERSION);
        return "rocketmq-client " + version.substring(1).replace('_', '.') + " (Java)";
    }

    /** One JSON object on one line: the client's version, then the given names and values in turn. */
    static void print(Object... namesAndValues) {
        Object[] all = new Object[namesAndValues.length + 2];
        all[0] = "client";
        all[1] = version();
        System.arraycopy(namesAndValues, 0, all, 2, namesAndValues.length);
        OUT.println(Json.object(all));
        OUT.flush();
    }
}
