import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.jsontype.impl.LaissezFaireSubTypeValidator;
import com.fasterxml.jackson.databind.util.StdDateFormat;
import com.fasterxml.jackson.datatype.jsr310.JavaTimeModule;
import java.io.ByteArrayOutputStream;
import java.math.BigDecimal;
import java.math.MathContext;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RoundRobinPartitioner;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.DoubleSerializer;
import org.apache.kafka.common.serialization.IntegerSerializer;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.support.JacksonUtils;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.kafka.support.serializer.JsonSerializer;
import org.springframework.kafka.support.serializer.ToStringSerializer;
import org.springframework.messaging.support.MessageBuilder;

/**
 * Publishes an order's message in each way in which teams with Spring Kafka do it, and prints which order is which.
 * Arguments: the broker's address and a topic of one partition. tests/integration/test_spring_publishers.py reads them.
 */
public class SpringPublisher {
    public record ProductItem(
            String externalProductId,
            Object quantity,
            String unit,
            Object originalPrice,
            Object discountedPrice,
            Object finalTotalPrice,
            Object vatRate) {}

    public record Item(ProductItem productItem) {}

    public record Created(
            Object orderId,
            Object storeNo,
            List<Item> orderItemsWithDiscountSummaryItems,
            Object buyerId,
            String transactionId,
            Object transactionDate) {}

    public record Ended(
            long orderId, String storeNo, String buyerId, String reason, String transactionId, Object transactionDate) {}

    public record Event(Object payload, Object type) {}

    public enum Kind { CREATED, UPDATED, CANCELLED, COMPLETED }

    static final Instant WHEN = Instant.parse("2025-02-28T13:36:06.026732837Z");
    static final ZoneId ISTANBUL = ZoneId.of("Europe/Istanbul");
    static final ProductItem GOOD = item("2", "156", "153", "306");

    static String bootstrap;
    static String topic;
    static long next = 70_000_001L;

    /** What JsonSerializer makes for itself: dates are numbers. */
    static ObjectMapper asItComes() {
        return JacksonUtils.enhancedObjectMapper();
    }

    /** What Spring Boot makes: dates are texts. */
    static JsonMapper.Builder texts() {
        return JsonMapper.builder()
                .addModule(new JavaTimeModule())
                .disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS);
    }

    static BigDecimal number(String text) {
        return new BigDecimal(text);
    }

    static ProductItem item(String quantity, String original, String discounted, String last) {
        return new ProductItem(
                "67867", number(quantity), "KG", number(original), number(discounted), number(last), BigDecimal.ONE);
    }

    static Event created(Object id, Object date, ProductItem item) {
        return new Event(new Created(id, "54645", List.of(new Item(item)), "1234", "t-" + id, date), Kind.CREATED);
    }

    static void say(long id, String name) {
        System.out.println(id + "\t" + name);
    }

    static <K, V> KafkaTemplate<K, V> template(Serializer<K> keys, Serializer<V> values, Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(Map.of(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap));
        config.putAll(more);
        return new KafkaTemplate<>(new DefaultKafkaProducerFactory<>(config, keys, values));
    }

    static void close(KafkaTemplate<?, ?> template) {
        ((DefaultKafkaProducerFactory<?, ?>) template.getProducerFactory()).destroy();
    }

    static <K, V> void send(
            String name, Serializer<K> keys, Function<Long, K> key, Serializer<V> values, Function<Long, V> value,
            Map<String, Object> config) throws Exception {
        long id = next++;
        var template = template(keys, values, config);
        try {
            template.send(topic, key.apply(id), value.apply(id)).get();
        } finally {
            close(template);
        }
        say(id, name);
    }

    static void value(String name, ObjectMapper mapper, Function<Long, Object> value) throws Exception {
        send(name, new StringSerializer(), String::valueOf, new JsonSerializer<>(mapper), value, Map.of());
    }

    static void date(String name, ObjectMapper mapper, Object date) throws Exception {
        value(name, mapper, id -> created(id, date, GOOD));
    }

    static void prices(String name, ProductItem item) throws Exception {
        value(name, texts().build(), id -> created(id, WHEN, item));
    }

    static <K> void key(String name, Serializer<K> keys, Function<Long, K> key) throws Exception {
        send(name, keys, key, new JsonSerializer<>(asItComes()), id -> created(id, WHEN, GOOD), Map.of());
    }

    static void producer(String name, Map<String, Object> config) throws Exception {
        send(name, new StringSerializer(), String::valueOf, new JsonSerializer<>(asItComes()),
                id -> created(id, WHEN, GOOD), config);
    }

    static void header(String name, String header, Object content) throws Exception {
        long id = next++;
        var template = template(new StringSerializer(), new JsonSerializer<Object>(asItComes()), Map.of());
        try {
            template.send(MessageBuilder.withPayload((Object) created(id, WHEN, GOOD))
                    .setHeader(KafkaHeaders.TOPIC, topic)
                    .setHeader(KafkaHeaders.KEY, String.valueOf(id))
                    .setHeader(header, content)
                    .build()).get();
        } finally {
            close(template);
        }
        say(id, name);
    }

    static byte[] behindSchema(byte[] content) {
        return ByteBuffer.allocate(5 + content.length).put((byte) 0).putInt(7).put(content).array();
    }

    /** The order id, a store and an empty list, as Avro writes them. */
    static byte[] avro(long id) {
        var written = new ByteArrayOutputStream();
        long zigzag = id << 1;
        for (; zigzag >= 0x80; zigzag >>>= 7) {
            written.write((int) (zigzag & 0x7f | 0x80));
        }
        written.write((int) zigzag);
        written.write(10);
        written.writeBytes("54645".getBytes());
        written.write(0);
        return written.toByteArray();
    }

    static void dates() throws Exception {
        date("an Instant, JsonSerializer as it comes", asItComes(), WHEN);
        date("an Instant of a whole second, JsonSerializer as it comes", asItComes(), WHEN.truncatedTo(ChronoUnit.SECONDS));
        date("an Instant, milliseconds", JsonMapper.builder().addModule(new JavaTimeModule())
                .disable(SerializationFeature.WRITE_DATE_TIMESTAMPS_AS_NANOSECONDS).build(), WHEN);
        date("a Date, JsonSerializer as it comes", asItComes(), Date.from(WHEN));
        date("an OffsetDateTime, JsonSerializer as it comes", asItComes(), WHEN.atOffset(ZoneOffset.ofHours(3)));
        date("a ZonedDateTime, JsonSerializer as it comes", asItComes(), WHEN.atZone(ISTANBUL));
        date("an Instant, Boot's mapper", texts().build(), WHEN);
        date("a Date, Boot's mapper", texts().build(), Date.from(WHEN));
        date("a Date with +0000", texts().defaultDateFormat(new StdDateFormat().withColonInTimeZone(false)).build(), Date.from(WHEN));
        date("an OffsetDateTime, Boot's mapper", texts().build(), WHEN.atOffset(ZoneOffset.ofHours(3)));
        date("an OffsetDateTime of a whole minute, toString", texts().build(), OffsetDateTime.parse("2025-02-28T13:36:00Z").toString());
        date("a ZonedDateTime, Boot's mapper", texts().build(), WHEN.atZone(ISTANBUL));
        date("a ZonedDateTime with its zone", texts().enable(SerializationFeature.WRITE_DATES_WITH_ZONE_ID).build(), WHEN.atZone(ISTANBUL));
        date("a ZonedDateTime, toString", texts().build(), WHEN.atZone(ISTANBUL).toString());
        date("a LocalDateTime, Boot's mapper", texts().build(), LocalDateTime.ofInstant(WHEN, ISTANBUL));
        date("a LocalDateTime, JsonSerializer as it comes", asItComes(), LocalDateTime.ofInstant(WHEN, ISTANBUL));
        date("a LocalDate, Boot's mapper", texts().build(), LocalDate.ofInstant(WHEN, ISTANBUL));
        date("an Instant, numbers as strings", JsonMapper.builder().addModule(new JavaTimeModule())
                .enable(JsonGenerator.Feature.WRITE_NUMBERS_AS_STRINGS).build(), WHEN);
    }

    static void keys() throws Exception {
        key("key: LongSerializer", new LongSerializer(), id -> id);
        key("key: IntegerSerializer", new IntegerSerializer(), Long::intValue);
        key("key: a Long through JsonSerializer", new JsonSerializer<Long>(), id -> id);
        key("key: a String through JsonSerializer", new JsonSerializer<String>(), String::valueOf);
        key("key: a Long through ToStringSerializer", new ToStringSerializer<Long>(), id -> id);
        key("key: none", new StringSerializer(), id -> null);
        key("key: with a prefix", new StringSerializer(), id -> "order-" + id);
        key("key: DoubleSerializer", new DoubleSerializer(), Long::doubleValue);
    }

    static void amounts() throws Exception {
        prices("amounts: with exponents", item("2", "1.5E+2", "1E+2", "2E+2"));
        value("amounts: with exponents, written plain", texts().enable(JsonGenerator.Feature.WRITE_BIGDECIMAL_AS_PLAIN).build(),
                id -> created(id, WHEN, item("2", "1.5E+2", "1E+2", "2E+2")));
        prices("amounts: a tiny quantity", item("1.5E-7", "100", "90", "0.0000135"));
        prices("amounts: a scale of 40", item("2", number("156").setScale(40).toString(), "153", "306"));
        prices("amounts: a digit 41 places behind the point", item("2", "156." + "0".repeat(40) + "1", "153", "306"));
        prices("amounts: a quotient of DECIMAL128",
                item("2", number("1000").divide(number("7"), MathContext.DECIMAL128).toString(), "100", "200"));
        prices("amounts: doubles", new ProductItem("67867", 2.0, "KG", 1.0E10, 153.10000000000002, 306.0, 1.0));
        value("amounts: numbers as strings", texts().enable(JsonGenerator.Feature.WRITE_NUMBERS_AS_STRINGS).build(),
                id -> created(id, WHEN, GOOD));
        prices("amounts: texts with a comma", new ProductItem("67867", "2", "KG", "156,00", "153", "306", "1"));
        value("amounts: an order id as a double", texts().build(), id -> created((double) id, WHEN, GOOD));
        prices("amounts: goods by weight, a till that rounds", item("1.255", "19.99", "16.00", "20.08"));
    }

    static void members() throws Exception {
        value("members: a CANCELLED with nulls", asItComes(),
                id -> new Event(new Ended(id, null, null, null, "t-" + id, WHEN), Kind.CANCELLED));
        value("members: a CANCELLED without nulls", texts().serializationInclusion(JsonInclude.Include.NON_NULL).build(),
                id -> new Event(new Ended(id, null, null, null, "t-" + id, WHEN), Kind.CANCELLED));
        value("members: a COMPLETED with a reason", asItComes(),
                id -> new Event(new Ended(id, "1", "2", "why", "t-" + id, WHEN), Kind.COMPLETED));
        value("members: unknown ones, half a surrogate pair among them", asItComes(), id -> {
            var more = new LinkedHashMap<String, Object>();
            more.put("type", Kind.CREATED);
            more.put("payload", created(id, WHEN, GOOD).payload());
            more.put("note", "\ud800");
            more.put("campaign", Arrays.asList(1, null, "ü", number("1E-300")));
            return more;
        });
        value("members: a store number as a number", asItComes(),
                id -> new Event(new Created(id, 54645, List.of(new Item(GOOD)), 1234L, "t-" + id, WHEN), Kind.CREATED));
        prices("members: discountedPrice is null",
                new ProductItem("67867", 2, "KG", 156, null, 306, 1));
        prices("members: vatRate is null", new ProductItem("67867", 2, "KG", 156, 153, 306, null));
        value("members: without discountedPrice and vatRate",
                texts().serializationInclusion(JsonInclude.Include.NON_NULL).build(),
                id -> created(id, WHEN, new ProductItem("67867", 2, "KG", 156, null, 306, null)));
        value("members: a type in small letters", asItComes(), id -> new Event(created(id, WHEN, GOOD).payload(), "created"));
        value("members: with the types of Java", texts().activateDefaultTyping(
                LaissezFaireSubTypeValidator.instance, ObjectMapper.DefaultTyping.EVERYTHING).build(),
                id -> created(id, WHEN, GOOD));
    }

    static void producers() throws Exception {
        for (var codec : List.of("zstd", "lz4", "snappy", "gzip")) {
            producer("producer: " + codec, Map.of(ProducerConfig.COMPRESSION_TYPE_CONFIG, codec));
        }
        producer("producer: a partitioner of its own",
                Map.of(ProducerConfig.PARTITIONER_CLASS_CONFIG, RoundRobinPartitioner.class.getName()));
        var template = template(new StringSerializer(), new JsonSerializer<Object>(asItComes()),
                Map.of(ProducerConfig.TRANSACTIONAL_ID_CONFIG, "spring-publisher-"));
        long committed = next++;
        long aborted = next++;
        try {
            template.executeInTransaction(
                    inside -> inside.send(topic, String.valueOf(committed), created(committed, WHEN, GOOD)));
            template.executeInTransaction(inside -> {
                inside.send(topic, String.valueOf(aborted), created(aborted, WHEN, GOOD));
                inside.flush();
                throw new IllegalStateException("rolled back");
            });
        } catch (IllegalStateException expected) {
            say(committed, "producer: a transaction");
            say(aborted, "producer: a transaction that was rolled back");
        } finally {
            close(template);
        }
    }

    static void headers() throws Exception {
        header("header: sequence as a Long", "sequence", 1L);
        header("header: sequence as a String", "sequence", "1");
        header("header: ce_id as a String", "ce_id", "my-id");
        header("header: traceparent", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        long id = next++;
        var template = template(new StringSerializer(), new JsonSerializer<Object>(asItComes()), Map.of());
        try {
            var record = new ProducerRecord<String, Object>(topic, String.valueOf(id), created(id, WHEN, GOOD));
            record.headers().add("sequence", ByteBuffer.allocate(8).putLong(1).array());
            template.send(record).get();
        } finally {
            close(template);
        }
        say(id, "header: sequence in 8 bytes");
    }

    static void values() throws Exception {
        var json = asItComes();
        value("value: a text through JsonSerializer", json, id -> {
            try {
                return json.writeValueAsString(created(id, WHEN, GOOD));
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
        value("value: none", json, id -> null);
        send("value: JSON behind a schema's id", new LongSerializer(), id -> id, new ByteArraySerializer(), id -> {
            try {
                return behindSchema(json.writeValueAsBytes(created(id, WHEN, GOOD)));
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }, Map.of());
        send("value: Avro behind a schema's id", new LongSerializer(), id -> id, new ByteArraySerializer(),
                id -> behindSchema(avro(id)), Map.of());
    }

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        topic = arguments[1];
        dates();
        keys();
        amounts();
        members();
        producers();
        headers();
        values();
    }
}
