"""Our partitioner against a table made by Kafka's own Java producer (sandbox/kafka/JavaPartitions.java)."""

import csv
from pathlib import Path

from adapters.kafka.producer.partitioner import partition_for

TABLE = Path(__file__).parents[1] / "samples" / "java_partitions.csv"


def test_every_key_of_the_table_lies_where_java_puts_it() -> None:
    """About a thousand order ids, from 1 to 2⁶³−1, over seven numbers of partitions: no difference."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1000
    for row in rows:
        key = row.pop("key").encode()
        expected = {name: int(partition) for name, partition in row.items()}
        assert expected == {name: partition_for(key, int(name.removeprefix("of_"))) for name in row}
