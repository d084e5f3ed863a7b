// Prints the table tests/unit/samples/java_partitions.csv: the partition that Kafka's own Java producer chooses.
//   java -cp 'var/kafka-jars/*' sandbox/kafka/JavaPartitions.java > tests/unit/samples/java_partitions.csv
import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

public class JavaPartitions {
    static final int[] COUNTS = {1, 2, 3, 6, 12, 48, 100};

    public static void main(String[] arguments) {
        StringBuilder out = new StringBuilder("key");
        for (int count : COUNTS) out.append(",of_").append(count);
        out.append('\n');
        long[] edges = {1, 2, 9, 10, 11, 99, 100, 24323523L, Integer.MAX_VALUE, 1L << 32, Long.MAX_VALUE - 1, Long.MAX_VALUE};
        for (long key : edges) line(out, key);
        for (long key = 1000; key < 1200; key++) line(out, key);
        Random random = new Random(1);
        for (int i = 0; i < 800; i++) line(out, 1 + (random.nextLong() >>> 1 >>> random.nextInt(50)));
        System.out.print(out);
    }

    static void line(StringBuilder out, long key) {
        byte[] bytes = Long.toString(key).getBytes(StandardCharsets.UTF_8);
        out.append(key);
        for (int count : COUNTS) out.append(',').append(BuiltInPartitioner.partitionForKey(bytes, count));
        out.append('\n');
    }
}
