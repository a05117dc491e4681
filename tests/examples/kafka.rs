//! A Kafka for scripts and for people: prints its `host:port`, and ends, with its data, when its standard input does.

use std::io::{Read, Write};

use millstream_tests::kafka::Kafka;

fn main() -> std::io::Result<()> {
    let kafka = Kafka::start();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", kafka.brokers())?;
    stdout.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
