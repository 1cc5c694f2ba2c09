//! Strangers hold connections to the hub open, as many as they can; the telephones go on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::gateway::Hub;
use quartet::demo::{PEER_HZ, PHONE_HZ};
use quartet_tests::house::{House, HouseSetup, SOON, hears};
use quartet_tests::namespace::Namespace;
use quartet_tests::peers::may_make_namespaces;
use quartet_tests::wait::until;
use quartet_tests::wrapper::Wrapper;

use crate::PROGRAM;

/// Whether the far end still holds a connection that it has nothing to say on.
fn is_open(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// The limit of open files of the gateway, soft and hard.
fn open_files(house: &House) -> Vec<String> {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", house.gateway.pid())).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let fields = line.expect("Linux tells").split_whitespace();
    fields.take(2).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a crowd takes the processor from the others; ./check runs it"]
async fn idle_connections_cost_no_call_and_no_record() {
    let small = Wrapper::new("ulimit -Sn 100 && ulimit -Hn 200 || exit 1", "", PROGRAM);
    let house = House::new(small.path().to_str().expect("UTF-8"), "[call]\nverify = \"off\"").await;
    assert_eq!(open_files(&house), ["200", "200"], "the soft limit is raised");
    for said in [
        "[limits] calls = 100 cannot all be served",
        "[limits] hub_sessions = 1000 cannot all be served",
    ] {
        assert!(house.gateway.log().contains(said), "{said}:\n{}", house.gateway.log());
    }
    let hub = house.gateway.hub().expect("its address");
    let idle: Vec<TcpStream> = (0..400).filter_map(|_| TcpStream::connect(hub).ok()).collect();
    // All were taken in by the system; the gateway has let most of them go.
    until("most are gone", SOON, || {
        let open = idle.iter().filter(|stream| is_open(stream)).count();
        (open <= 12).then_some(())
    });
    let mut anna = house.user("anna", Answering::Take, Fault::None).await;
    let mut desk = house.phone("100", false).await;
    let more: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(hub).ok()).collect();
    House::talk(&mut desk, &mut anna).await;
    hears(desk.line(), PEER_HZ).await;
    hears(anna.line(), PHONE_HZ).await;
    desk.hang_up();
    assert_eq!(house.record(1).await["cause"], "answered");
    assert!(more.iter().filter(|stream| is_open(stream)).count() <= 12);
    assert!(!house.gateway.log().contains(" ERROR "), "{}", house.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a crowd takes the processor from the others; ./check runs it"]
async fn unfinished_headers_take_little_memory_and_end_at_the_deadline() {
    let house = House::new(PROGRAM, "").await;
    let hub = house.gateway.hub().expect("its address");
    let before = house.memory_kib();
    let (most, started) = (800, Instant::now());
    let mut unfinished: Vec<TcpStream> = Vec::new();
    for _ in 0..most {
        let Ok(mut stream) = TcpStream::connect(hub) else {
            continue;
        };
        let head = format!("GET / HTTP/1.1\r\nHost: hub\r\nX: {}", "x".repeat(6000));
        if stream.write_all(head.as_bytes()).is_ok() {
            unfinished.push(stream);
        }
    }
    let grown = house.memory_kib().saturating_sub(before);
    assert!(grown < 16 * most, "{grown} KiB for {most} connections");
    // A byte now and then does not keep a connection.
    let limit = Duration::from_secs(25);
    until("all are dropped", limit, || {
        for stream in &mut unfinished {
            stream.write_all(b"x").ok();
        }
        unfinished.retain(is_open);
        unfinished.is_empty().then_some(())
    });
    assert!(started.elapsed() < limit);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a crowd takes the processor from the others; ./check runs it"]
async fn one_source_has_sixteen_connections_without_a_hello() {
    let Some(()) = may_make_namespaces() else { return };
    let namespace = Namespace::new();
    let inside = Wrapper::new("", &namespace.launcher(), PROGRAM);
    let setup = HouseSetup {
        hub: Hub::Here((namespace.far(), 0).into()),
        ..HouseSetup::default()
    };
    let house = House::build(inside.path().to_str().expect("UTF-8"), setup).await;
    let hub = house.gateway.hub().expect("its address");
    let mut crowd: Vec<TcpStream> = (0..64).filter_map(|_| TcpStream::connect(hub).ok()).collect();
    let open = |crowd: &[TcpStream]| crowd.iter().filter(|stream| is_open(stream)).count();
    until("the oldest have made room", SOON, || (open(&crowd) == 16).then_some(()));
    crowd.retain(is_open);
    // A user at the same address comes in nevertheless, and from then on counts no more.
    let _anna = house.user("anna", Answering::Take, Fault::None).await;
    until("one made room for the user", SOON, || {
        (open(&crowd) == 15).then_some(())
    });
    crowd.retain(is_open);
    crowd.push(TcpStream::connect(hub).expect("connected"));
    crowd.push(TcpStream::connect(hub).expect("connected"));
    until("the oldest makes room for the newest", SOON, || {
        (!is_open(&crowd[0])).then_some(())
    });
    assert_eq!(open(&crowd), 16);
}
