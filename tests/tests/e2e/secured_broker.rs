//! Promise: brokers that want TLS and SASL/SCRAM-SHA-512 are read from and written to with what `properties_file` says; a
//! wrong password and a certificate of an unknown authority are errors that come soon and say what to mend.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use millstream_tests::host::{fail, millstream, succeed};
use millstream_tests::kafka::Kafka;

use crate::topics::{each_once, lake_ids};

/// How long a refusal may take.
const SOON: Duration = Duration::from_secs(20);

fn openssl(folder: &Path, arguments: &str) {
    succeed(Command::new("openssl").current_dir(folder).args(arguments.split(' ')));
}

/// An authority, a broker's certificate of it, and another authority.
fn certificates(folder: &Path) {
    for name in ["ca", "other"] {
        openssl(
            folder,
            &format!("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"),
        );
    }
    openssl(folder, "req -newkey rsa:2048 -nodes -subj /CN=broker -keyout broker.key -out broker.csr");
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        folder,
        "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out broker.pem",
    );
    openssl(folder, "pkcs12 -export -in broker.pem -inkey broker.key -passout pass:secret -out broker.p12");
}

#[test]
fn tls_and_scram_are_used_and_what_is_wrong_is_said_soon() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let kafka = Kafka::start_secured(&folder.path().join("broker.p12"));
    kafka.create_topic("secured", 2);
    kafka.create_topic("secured-out", 1);
    kafka.produce("secured", 2, (0..1_000).map(|id| format!("{{\"id\":{id}}}")));
    let brokers = kafka.secured_brokers();
    let properties = |authority: &str, password: &str| {
        format!(
            "security.protocol=SASL_SSL\nssl.ca.location={}\nsasl.mechanism=SCRAM-SHA-512\nsasl.username=reader\n\
             sasl.password={password}\n",
            folder.path().join(authority).display()
        )
    };
    let source = format!(
        r#"
workers = 2

[source.events]
kafka   = {{ brokers = "{brokers}", topic = "secured", group = "secured", properties_file = "kafka.properties" }}
format  = "json"
columns = {{ id = "int64" }}

[output.lake]
from    = "source.events"
parquet = {{ path = "lake" }}
"#
    );
    let topic = format!(
        r#"
[output.topic]
from  = "source.events"
kafka = {{ brokers = "{brokers}", topic = "secured-out", key = "id", properties_file = "kafka.properties" }}
"#
    );
    fs::write(folder.path().join("reads.toml"), format!("name = \"reads\"\n{source}")).unwrap();
    fs::write(folder.path().join("writes.toml"), format!("name = \"writes\"\n{source}{topic}")).unwrap();
    let run = |pipeline: &str| {
        let mut run = millstream();
        run.current_dir(folder.path()).args(["run", pipeline, "--no-progress", "--until-caught-up"]);
        run
    };
    let refused = |pipeline: &str, authority: &str, password: &str, what: &str| {
        fs::write(folder.path().join("kafka.properties"), properties(authority, password)).unwrap();
        let begin = Instant::now();
        let said = fail(&mut run(pipeline));
        assert!(said.contains(what) && said.contains(&brokers), "{said}");
        assert!(said.contains("properties_file") && !said.contains(password), "the way out, and no secret: {said}");
        assert!(begin.elapsed() < SOON, "it took {:?}", begin.elapsed());
    };
    for pipeline in ["reads.toml", "writes.toml"] {
        refused(pipeline, "ca.pem", "not-this-one", "uthentication");
        refused(pipeline, "other.pem", "secret-1", "certificate verify failed");
    }
    fs::write(folder.path().join("kafka.properties"), properties("ca.pem", "secret")).unwrap();
    succeed(&mut run("writes.toml"));
    let all: Vec<i64> = (0..1_000).collect();
    assert_eq!(each_once(lake_ids(&folder.path().join("lake"))), all);
    assert_eq!(each_once(crate::topics::topic_ids(&kafka, "secured-out")), all);
}
