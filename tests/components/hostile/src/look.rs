//! Looks for anything of the machine that it might reach.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What there is to see, as one text.
#[expect(clippy::disallowed_methods, reason = "it looks at the clock")]
pub fn around() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(3_600));
    let slept = start.elapsed().as_secs();
    [
        format!("env {}", std::env::vars().count()),
        format!("args {}", std::env::args().count()),
        format!("file {}", std::fs::read("/etc/passwd").is_ok()),
        format!("folder {}", std::fs::read_dir("/").is_ok()),
        format!("write {}", std::fs::write("/tmp/millstream-test", "x").is_ok()),
        format!("connect {}", std::net::TcpStream::connect("127.0.0.1:9").is_ok()),
        format!("listen {}", std::net::TcpListener::bind("127.0.0.1:0").is_ok()),
        format!("udp {}", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        format!("name {}", std::net::ToSocketAddrs::to_socket_addrs("localhost:80").is_ok()),
        format!("stdin {}", std::io::read_to_string(std::io::stdin()).unwrap_or_default().len()),
        format!("now {now}"),
        format!("slept {slept}"),
        format!("random {:x}", RandomState::new().hash_one(0)),
    ]
    .join("; ")
}
