//! A real Apache Kafka for tests: one node in KRaft mode, started from the jars of Maven Central, on free ports, with its
//! data in a temporary folder. It needs Java 17 and, the first time, Maven.
//!
//! Nothing survives the test: a shell stands between the test and the JVM, and kills the JVM when the test's end of its
//! standard input is closed, however the test ended.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pollster::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::patience::{PATIENCE, find_within, wait_until};

/// The version that tests run against.
pub const KAFKA_VERSION: &str = "4.1.1";

/// Most that a broker may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A record's key and value.
pub type KeyAndValue = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A record of a topic.
pub struct Record<'a> {
    /// The topic's partition.
    pub partition: i32,
    /// Where it stands in it.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// A running (or stopped) broker.
pub struct Kafka {
    folder: PathBuf,
    port: u16,
    controller_port: u16,
    /// Of a broker that has a listener with TLS and SASL too.
    secured_port: Option<u16>,
    /// Settings of its own: the last one of a name counts.
    settings: String,
    process: Mutex<Option<Child>>,
}

impl Kafka {
    /// The broker that all tests of a test binary share; topics and groups are told apart by their names.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Kafka::start)
    }

    /// Starts a broker of its own, for tests that stop it.
    ///
    /// # Panics
    /// When Java, Maven or the jars are missing, naming what to install, and when the broker does not come up.
    pub fn start() -> Kafka {
        let kafka = Kafka::new();
        kafka.begin(&[]);
        kafka
    }

    /// Starts a broker that tells its clients to come by way of another address, such as a proxy's.
    pub fn start_behind(address: impl FnOnce(u16) -> u16) -> Kafka {
        let mut kafka = Kafka::new();
        let port = address(kafka.port);
        kafka.settings = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n");
        kafka.begin(&[]);
        kafka
    }

    /// Starts a broker with a second listener for TLS with SCRAM-SHA-512: the certificate is in a PKCS #12 file with the
    /// password `secret`, the user is `reader` with the password `secret`.
    pub fn start_secured(certificate: &Path) -> Kafka {
        let mut kafka = Kafka::new();
        let (listener, secured) = free_port();
        drop(listener);
        let (port, controller) = (kafka.port, kafka.controller_port);
        kafka.secured_port = Some(secured);
        kafka.settings = format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SECURED://127.0.0.1:{secured}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURED://127.0.0.1:{secured}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL\n\
             sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.secured.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password=secret\nssl.key.password=secret\n",
            certificate.display()
        );
        kafka.begin(&["--add-scram", "SCRAM-SHA-512=[name=reader,password=secret]"]);
        kafka
    }

    fn new() -> Kafka {
        let folder = tempfile::Builder::new().prefix("millstream-kafka-").tempdir().expect("a temporary folder").keep();
        let (first, second) = (free_port(), free_port());
        let (port, controller_port) = (first.1, second.1);
        drop((first, second));
        Kafka { folder, port, controller_port, secured_port: None, settings: String::new(), process: Mutex::new(None) }
    }

    fn begin(&self, format: &[&str]) {
        fs::write(self.properties_file(), self.properties() + &self.settings).expect("writing the broker's settings");
        self.format(format);
        self.start_again();
    }

    /// `host:port` of the listener with TLS and SASL.
    pub fn secured_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.secured_port.expect("a secured listener"))
    }

    /// `host:port`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills the broker; its data stay.
    pub fn stop(&self) {
        if let Some(mut process) = self.process().take() {
            if let Some(mut input) = process.stdin.take() {
                // The line says that the data are wanted again; see `supervise`.
                let _ = input.write_all(b"keep\n");
            }
            process.wait().expect("waiting for the broker's end");
        }
    }

    /// Starts the broker on its ports and data, and waits until it answers.
    pub fn start_again(&self) {
        let log = File::create(self.folder.join("broker.log")).expect("the broker's log file");
        let temporary = format!("-Djava.io.tmpdir={}", self.folder.display());
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISE, "sh"]).arg(&self.folder).args(java(&["-Xms256m", "-Xmx512m", &temporary]));
        command.arg("kafka.Kafka").arg(self.properties_file());
        command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        *self.process() = Some(command.spawn().expect("starting a shell"));
        self.await_answer();
    }

    /// Makes a topic.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// Makes a topic with settings of its own.
    pub fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let made =
            block_on(self.admin().create_topics([&topic], &AdminOptions::new())).expect("an answer of the broker");
        assert_eq!(made, [Ok(name.to_owned())]);
        self.partitions(&self.config().create().expect("a consumer"), name);
    }

    /// How many partitions a topic has. Waits for one that was made just now: brokers may not know it for a moment.
    fn partitions(&self, consumer: &BaseConsumer, topic: &str) -> i32 {
        let known = || {
            let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("metadata");
            Some(metadata.topics()[0].partitions().len() as i32).filter(|&partitions| partitions > 0)
        };
        find_within(PATIENCE, known).unwrap_or_else(|| panic!("topic {topic} never came"))
    }

    /// Changes settings of a topic.
    pub fn configure_topic(&self, name: &str, settings: &[(&str, &str)]) {
        let change = rdkafka::admin::AlterConfig::new(rdkafka::admin::ResourceSpecifier::Topic(name));
        let change = settings.iter().fold(change, |change, (name, value)| change.set(name, value));
        let changed = block_on(self.admin().alter_configs([&change], &AdminOptions::new())).expect("an answer");
        assert!(changed.iter().all(Result::is_ok), "{changed:?}");
    }

    /// Adds partitions to a topic, up to so many.
    pub fn grow_topic(&self, name: &str, partitions: usize) {
        let wanted = rdkafka::admin::NewPartitions::new(name, partitions);
        let made = block_on(self.admin().create_partitions([&wanted], &AdminOptions::new())).expect("an answer");
        assert_eq!(made, [Ok(name.to_owned())]);
    }

    /// Deletes the records before an offset, as retention does.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        block_on(self.admin().delete_records(&offsets, &AdminOptions::new())).expect("an answer of the broker");
    }

    /// A producer with librdkafka's settings: fast, lz4, unless they say otherwise.
    pub fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = self.config();
        config.set("compression.codec", "lz4").set("linger.ms", "5").set("queue.buffering.max.kbytes", "262144");
        config.set("queue.buffering.max.messages", "1000000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().expect("a producer")
    }

    /// Writes values to a topic and waits for the acknowledgements. Value `i` goes to partition `i % partitions`.
    pub fn produce<V: AsRef<[u8]>>(&self, topic: &str, partitions: i32, values: impl IntoIterator<Item = V>) {
        self.produce_of(topic, partitions, None, values);
    }

    /// Writes values as `produce` does, as records of a time in ms since 1970-01-01 UTC. A topic keeps them for a week from that
    /// time on, unless its `retention.ms` says otherwise.
    pub fn produce_at<V: AsRef<[u8]>>(
        &self,
        topic: &str,
        partitions: i32,
        time_ms: i64,
        values: impl IntoIterator<Item = V>,
    ) {
        self.produce_of(topic, partitions, Some(time_ms), values);
    }

    fn produce_of<V: AsRef<[u8]>>(
        &self,
        topic: &str,
        partitions: i32,
        time_ms: Option<i64>,
        values: impl IntoIterator<Item = V>,
    ) {
        let producer = self.producer(&[]);
        for (partition, value) in (0..partitions).cycle().zip(values) {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value.as_ref());
            record.timestamp = time_ms;
            send(&producer, record);
        }
        producer.flush(Duration::from_secs(60)).expect("acknowledgements");
    }

    /// Deletes a topic, and waits until it is gone.
    pub fn delete_topic(&self, name: &str) {
        let deleted = block_on(self.admin().delete_topics(&[name], &AdminOptions::new())).expect("an answer");
        assert_eq!(deleted, [Ok(name.to_owned())]);
        let client: BaseConsumer = self.config().create().expect("a client");
        wait_until(&format!("topic {name} is gone"), || {
            let metadata = client.fetch_metadata(None, Duration::from_secs(10)).expect("metadata");
            metadata.topics().iter().all(|topic| topic.name() != name)
        });
    }

    /// The ends of a topic's partitions.
    pub fn end_offsets(&self, topic: &str) -> Vec<i64> {
        let consumer: BaseConsumer = self.config().create().expect("a consumer");
        let partitions = self.partitions(&consumer, topic);
        let end = |partition| consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).expect("offsets").1;
        (0..partitions).map(end).collect()
    }

    /// The offsets that a group committed for the first partitions of a topic.
    pub fn committed_offsets(&self, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let list = consumer.committed_offsets(list, Duration::from_secs(10)).expect("the group's offsets");
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        list.elements().iter().map(|element| offset(element.offset())).collect()
    }

    /// Moves the offset of a group, as `kafka-consumer-groups.sh --reset-offsets` does: once nobody is in the group any more.
    pub fn move_offset(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().expect("a consumer");
        wait_until(&format!("nobody is in group {group}"), || {
            let groups = consumer.fetch_group_list(Some(group), Duration::from_secs(10));
            groups.is_ok_and(|list| list.groups().iter().all(|group| group.members().is_empty()))
        });
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        consumer.commit(&offsets, CommitMode::Sync).expect("the group takes the offset");
    }

    /// All records of a topic that a read_committed reader sees, by partition and offset.
    pub fn read_all(&self, topic: &str) -> Vec<KeyAndValue> {
        let mut records = Vec::new();
        self.read_each(topic, |record| {
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            records.push(((record.partition, record.offset), (owned(record.key), owned(record.value))));
        });
        records.sort();
        records.into_iter().map(|(_, record)| record).collect()
    }

    /// Hands over each record of a topic that a read_committed reader sees; those of a partition in order.
    pub fn read_each(&self, topic: &str, mut take: impl FnMut(Record<'_>)) {
        use rdkafka::Message;
        let mut config = self.config();
        config.set("group.id", "read-all").set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let partitions = self.end_offsets(topic).len();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let mut ended = 0;
        while ended < partitions {
            match consumer.poll(Duration::from_secs(30)).expect("a record or the end within 30 s") {
                Ok(message) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    take(Record { partition, offset, key: message.key(), value: message.payload() });
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("reading {topic}: {error}"),
            }
        }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers()).set_log_level(RDKafkaLogLevel::Critical);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client")
    }

    fn process(&self) -> parking_lot::MutexGuard<'_, Option<Child>> {
        self.process.lock()
    }

    fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn properties(&self) -> String {
        let (port, controller, data) = (self.port, self.controller_port, self.folder.join("data"));
        format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\nlog.dirs={}\n\
             auto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=3\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=3\n\
             log.cleaner.backoff.ms=200\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=200\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             share.coordinator.state.topic.num.partitions=1\n",
            data.display()
        )
    }

    fn format(&self, more: &[&str]) {
        let arguments = java(&["-XX:TieredStopAtLevel=1"]);
        let mut command = Command::new(&arguments[0]);
        command.args(&arguments[1..]).args(["kafka.tools.StorageTool", "format", "-t", "bWlsbHN0cmVhbS10ZXN0cw", "-c"]);
        let output = command.arg(self.properties_file()).args(more).output().unwrap_or_else(|error| no_java(&error));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "formatting the broker's data: {}{text}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    fn await_answer(&self) {
        let client: BaseConsumer = self.config().create().expect("a client");
        let deadline = Instant::now() + START;
        loop {
            // A request that fails has waited for the connection; so this loop does not spin.
            if client.fetch_metadata(None, Duration::from_secs(2)).is_ok_and(|found| !found.brokers().is_empty()) {
                return;
            }
            let ended = self.process().as_mut().is_none_or(|process| process.try_wait().is_ok_and(|end| end.is_some()));
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("broker.log")).unwrap_or_default();
                panic!("Kafka did not start; its log ends with:\n{}", &log[log.len().saturating_sub(4000)..]);
            }
            client.poll(Duration::from_millis(100));
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(mut process) = self.process().take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs the JVM until standard input ends or says `keep`; without `keep` the data go too. A signal to the whole process
/// group (Ctrl-C) must not end the shell before it has cleaned up.
const SUPERVISE: &str = r#"folder=$1; shift
trap : HUP INT TERM
"$@" </dev/null & jvm=$!
read -r wish
kill -9 $jvm 2>/dev/null; wait $jvm 2>/dev/null
[ "$wish" = keep ] || rm -rf "$folder""#;

/// Sends a record, waiting while the producer's queue is full.
pub fn send(producer: &BaseProducer, record: BaseRecord<'_, [u8], [u8]>) {
    let mut record = record;
    while let Err((error, again)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
        producer.poll(Duration::from_millis(10));
        record = again;
    }
}

fn free_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its number").port();
    (listener, port)
}

fn java(options: &[&str]) -> Vec<String> {
    let mut arguments = vec!["java".to_owned()];
    arguments.extend(options.iter().map(|&option| option.to_owned()));
    arguments.extend(["-XX:+UseSerialGC".to_owned(), "-cp".to_owned(), format!("{}/*", jars().display())]);
    arguments
}

fn no_java(error: &std::io::Error) -> ! {
    panic!("no Java 17 or later ({error}); on Debian and Ubuntu: sudo apt-get install default-jre-headless")
}

/// The folder with Kafka's jars; fetched once for a user.
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let cache = std::env::var_os("MILLSTREAM_CACHE").map(PathBuf::from).unwrap_or_else(|| {
            let home = std::env::var_os("HOME").expect("HOME or MILLSTREAM_CACHE says where Kafka's jars are kept");
            Path::new(&home).join(".cache/millstream")
        });
        let cache = cache.join(format!("kafka-{KAFKA_VERSION}"));
        fs::create_dir_all(&cache).expect("the cache folder");
        // Two test binaries may start at the same time: one fetches, the other waits.
        let lock = File::create(cache.join("lock")).expect("the cache's lock file");
        lock.lock().expect("the cache's lock");
        let jars = cache.join("jars");
        if !jars.is_dir() {
            fetch_jars(&cache, &jars);
        }
        jars
    })
}

fn fetch_jars(cache: &Path, jars: &Path) {
    let dependency = |name: &str| {
        format!(
            "<dependency><groupId>org.apache.kafka</groupId><artifactId>{name}</artifactId><version>{KAFKA_VERSION}</version></dependency>"
        )
    };
    let project = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>millstream</groupId><artifactId>test-kafka</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{}{}</dependencies></project>",
        dependency("kafka_2.13"),
        dependency("kafka-tools")
    );
    let (file, partial) = (cache.join("pom.xml"), cache.join("jars.partial"));
    fs::write(&file, project).expect("the Maven project");
    let _ = fs::remove_dir_all(&partial);
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "-f"]).arg(&file).args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    command.arg(format!("-DoutputDirectory={}", partial.display()));
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("no Maven to fetch Kafka with; on Debian and Ubuntu: sudo apt-get install maven")
        }
        Err(error) => panic!("running Maven: {error}"),
    };
    assert!(output.status.success(), "Maven: {}", String::from_utf8_lossy(&output.stdout));
    fs::rename(&partial, jars).expect("moving the jars into place");
}
