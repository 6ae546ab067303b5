package pyromq.foreign;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Options in the form {@code --name value} or {@code --flag}; everything else is positional. */
final class Options {
    private final Map<String, String> values = new HashMap<>();
    private final List<String> positional = new ArrayList<>();

    Options(List<String> words) {
        for (int i = 0; i < words.size(); i++) {
            String word = words.get(i);
            if (!word.startsWith("--")) {
                positional.add(word);
            } else if (i + 1 < words.size() && !words.get(i + 1).startsWith("--")) {
                values.put(word.substring(2), words.get(++i));
            } else {
                values.put(word.substring(2), "true");
            }
        }
    }

    List<String> positional() {
        return positional;
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    String text(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("missing option --" + name);
        }
        return value;
    }

    String text(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    int number(String name, int otherwise) {
        return has(name) ? Integer.parseInt(text(name)) : otherwise;
    }

    long longNumber(String name, long otherwise) {
        return has(name) ? Long.parseLong(text(name)) : otherwise;
    }

    boolean flag(String name) {
        return Boolean.parseBoolean(values.getOrDefault(name, "false"));
    }

    /** The deadline of a subcommand: {@code --timeout} seconds from now. */
    long deadlineNanos() {
        return System.nanoTime() + number("timeout", 60) * 1_000_000_000L;
    }

    static long millisUntil(long deadlineNanos) {
        return Math.max(0, (deadlineNanos - System.nanoTime()) / 1_000_000);
    }
}
