package pyromq.foreign;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * {@code mqadmin --run "COMMAND …"}: Apache's own mqadmin, unmodified, in this JVM. {@code text} is what it printed and
 * {@code errors} the stack traces it printed to stderr: it tells of failures nowhere else.
 */
final class Mqadmin {
    private static final long LOOK_MS = 10;

    private Mqadmin() {
    }

    /**
     * The words are mqadmin's own; its -n option is added from --namesrv. A command that never ends is interrupted when
     * it has printed {@code --lines} lines, as an operator would by Ctrl-C. {@code --run help} lists all commands.
     */
    static void run(Options options) throws Exception {
        String run = options.text("run");
        List<String> words = new ArrayList<>();
        if (!run.equals("help")) {
            words.addAll(List.of(run.split(" ")));
            words.add("-n");
            words.add(options.text("namesrv"));
        }
        int lines = options.number("lines", 0);
        forgetCommands();
        PrintStream outBefore = System.out;
        PrintStream errorsBefore = System.err;
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream errors = new ByteArrayOutputStream();
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(errors, true, StandardCharsets.UTF_8));
        try {
            Thread command = new Thread(() -> MQAdminStartup.main0(words.toArray(new String[0]), null), "mqadmin");
            command.start();
            while (command.isAlive()) {
                command.join(LOOK_MS);
                hurryShutdown(command);
                if (lines > 0 && out.toString(StandardCharsets.UTF_8).lines().count() >= lines) {
                    command.interrupt();
                }
            }
        } finally {
            System.setOut(outBefore);
            System.setErr(errorsBefore);
        }
        Main.print("command", run, "text", out.toString(StandardCharsets.UTF_8),
            "errors", errors.toString(StandardCharsets.UTF_8));
    }

    /**
     * Some commands keep a client that cannot be started twice, as mqadmin is one process per command. Here its table
     * of commands, which every run fills anew, is emptied before. The list has another name in 4.9.
     */
    private static void forgetCommands() throws IllegalAccessException {
        for (Field field : MQAdminStartup.class.getDeclaredFields()) {
            if (field.getType() == List.class) {
                field.setAccessible(true);
                ((List<?>) field.get(null)).clear();
            }
        }
    }

    /**
     * A client's shutdown waits for a thread that looks only every 3 s whether it shall end. An interrupt makes it
     * look at once, and does nothing to one that shall go on.
     */
    private static void hurryShutdown(Thread command) {
        for (StackTraceElement frame : command.getStackTrace()) {
            if (frame.getClassName().endsWith(".NettyRemotingClient") && frame.getMethodName().equals("shutdown")) {
                Thread.getAllStackTraces().keySet().stream()
                    .filter(thread -> thread.getName().equals("NettyEventExecutor"))
                    .forEach(Thread::interrupt);
                return;
            }
        }
    }
}
