package pyromq.foreign;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;

/**
 * {@code filter --cases FILE}: Apache's own SQL filter. A line of the file is an expression, then name and value of
 * each property, all hexadecimal, with tabs between them. {@code outcomes} has for each line true, false, null, "refused" or "failed".
 */
final class Filtering {
    private Filtering() {
    }

    static void run(Options options) throws Exception {
        List<Object> outcomes = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(options.text("cases")))) {
            String[] parts = line.split("\t", -1);
            Map<String, String> properties = new HashMap<>();
            for (int at = 1; at < parts.length; at += 2) {
                properties.put(text(parts[at]), text(parts[at + 1]));
            }
            outcomes.add(outcome(text(parts[0]), properties));
        }
        Main.print("outcomes", outcomes);
    }

    private static String text(String hexadecimal) {
        return new String(HexFormat.of().parseHex(hexadecimal), StandardCharsets.UTF_8);
    }

    private static Object outcome(String expression, Map<String, String> properties) {
        Expression compiled;
        try {
            compiled = FilterFactory.INSTANCE.get("SQL92").compile(expression);
        } catch (Throwable refused) {
            return "refused";
        }
        try {
            return compiled.evaluate(new EvaluationContext() {
                @Override
                public Object get(String name) {
                    return properties.get(name);
                }

                @Override
                public Map<String, Object> keyValues() {
                    throw new UnsupportedOperationException();
                }
            });
        } catch (Throwable failed) {
            return "failed";
        }
    }
}
