//! The door over loopback, with a real WebSocket client.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use quartet_proto::hub::{
    ClientFrame, ClientName, ErrorCode, Hello, Name, PROTOCOL, Reply, Request, ServerFrame, Token,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::hub::{Account, Directory, Limits, RendezvousConfig};
use crate::io::pending::{CLOSING, MAX_OVER};

/// No test waits longer than this for anything.
const TIMEOUT: Duration = Duration::from_secs(20);

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn door(settings: WebSocketSettings) -> (SocketAddr, mpsc::Receiver<HubInput>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (input, received) = mpsc::channel(64);
    tokio::spawn(serve_with(listener, input, settings));
    (address, received)
}

async fn connect(address: SocketAddr) -> Client {
    connect_async(format!("ws://{address}/hub/v1")).await.unwrap().0
}

async fn next(received: &mut mpsc::Receiver<HubInput>) -> HubInput {
    timeout(TIMEOUT, received.recv())
        .await
        .expect("in time")
        .expect("the door is open")
}

async fn opened(received: &mut mpsc::Receiver<HubInput>) -> (ConnKey, SocketAddr, HubSender) {
    match next(received).await {
        HubInput {
            conn,
            event: HubEvent::Opened { source, sender },
        } => (conn, source, sender),
        other => panic!("{other:?}"),
    }
}

/// Everything the client hears until its connection ends.
async fn rest(client: &mut Client) -> Vec<Frame> {
    let all = async {
        let mut frames = Vec::new();
        while let Some(Ok(frame)) = client.next().await {
            frames.push(frame);
        }
        frames
    };
    timeout(TIMEOUT, all).await.expect("the connection ends")
}

#[tokio::test]
async fn frames_go_both_ways() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let mut client = connect(address).await;
    let (conn, source, sender) = opened(&mut received).await;
    assert_ne!(conn, LOCAL);
    assert!(source.ip().is_loopback());
    client.send(Frame::text("hello")).await.unwrap();
    let input = next(&mut received).await;
    assert!(matches!(&input.event, HubEvent::Text(text) if text == "hello") && input.conn == conn);
    assert!(sender.send("answer".to_owned()) && sender.send("last".to_owned()));
    drop(sender);
    let frames = rest(&mut client).await;
    let texts: Vec<&str> = frames
        .iter()
        .filter(|frame| frame.is_text())
        .map(|frame| frame.to_text().unwrap())
        .collect();
    assert_eq!(
        texts,
        ["answer", "last"],
        "what was handed over is sent before the close"
    );
    assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
}

#[tokio::test]
async fn the_end_of_a_client_is_told() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    for polite in [true, false] {
        let mut client = connect(address).await;
        let (conn, _, _sender) = opened(&mut received).await;
        if polite {
            client.close(None).await.unwrap();
        }
        drop(client);
        let input = next(&mut received).await;
        assert!(matches!(input.event, HubEvent::Closed) && input.conn == conn);
    }
}

#[tokio::test]
async fn too_large_and_binary_frames_close() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    for frame in [Frame::text("x".repeat(MAX_FRAME + 1)), Frame::binary(vec![1, 2, 3])] {
        let mut client = connect(address).await;
        let (_, _, _sender) = opened(&mut received).await;
        // The door may close while the frame is still being written.
        let _ = client.send(frame).await;
        assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
    }
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    sender.admit();
    client.send(Frame::text("x".repeat(MAX_FRAME))).await.unwrap();
    assert!(matches!(next(&mut received).await.event, HubEvent::Text(text) if text.len() == MAX_FRAME));
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_closed() {
    let settings = WebSocketSettings {
        ping: Duration::from_millis(30),
        ..WebSocketSettings::default()
    };
    let (address, mut received) = door(settings).await;
    // This client is never read, so that its pongs are never sent.
    let client = connect(address).await;
    let (_, _, _sender) = opened(&mut received).await;
    assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
    drop(client);

    // One that is read stays for many pings.
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    for _ in 0..10 {
        let frame = timeout(TIMEOUT, client.next())
            .await
            .expect("a ping in time")
            .unwrap()
            .unwrap();
        assert!(frame.is_ping());
    }
    assert!(received.try_recv().is_err());
    drop(sender);
}

#[tokio::test]
async fn a_peer_that_floods_with_pings_is_closed() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    sender.admit();
    for _ in 0..4 * MAX_PINGS_PER_SECOND {
        client.send(Frame::Ping(Vec::new().into())).await.unwrap();
    }
    client.send(Frame::text("still here")).await.unwrap();
    assert!(matches!(next(&mut received).await.event, HubEvent::Text(_)));
    for _ in 0..8 * MAX_PINGS_PER_SECOND {
        // The door may close meanwhile.
        let _ = client.send(Frame::Ping(Vec::new().into())).await;
    }
    assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
}

#[tokio::test]
async fn a_peer_that_floods_with_fragments_is_dropped() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    sender.admit();
    // A text without an end, and without a byte: six bytes a fragment, which never become a frame.
    let fragments: Vec<u8> = [0x00, 0x80, 1, 2, 3, 4].repeat(10_000);
    let stream = client.get_mut();
    stream.write_all(&[0x01, 0x80, 1, 2, 3, 4]).await.unwrap();
    let mut sent = 0;
    while stream.write_all(&fragments).await.is_ok() {
        sent += fragments.len();
        assert!(sent < 64 * 1024 * 1024, "never dropped");
    }
    assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
}

#[tokio::test]
async fn pings_that_are_never_read_for_take_no_memory() {
    let settings = WebSocketSettings {
        write: Duration::from_millis(100),
        ..WebSocketSettings::default()
    };
    let (address, mut received) = door(settings).await;
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    sender.admit();
    let ping: Vec<u8> = [vec![0x89, 0xFD, 0, 0, 0, 0], vec![b'x'; 125]].concat();
    let stream = client.get_mut();
    let mut sent = 0;
    while stream.write_all(&ping).await.is_ok() {
        sent += ping.len();
        assert!(sent < 64 * 1024 * 1024, "never dropped");
    }
    assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let settings = WebSocketSettings {
        outgoing: 4,
        ..WebSocketSettings::default()
    };
    let (address, mut received) = door(settings).await;
    let client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    let large = "y".repeat(MAX_FRAME);
    let mut handed = 0;
    while sender.send(large.clone()) {
        handed += 1;
        assert!(handed < 10_000, "the queue is bounded");
        tokio::task::yield_now().await;
    }
    assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
    drop(client);
}

/// Seen: those that were closed, and did not read, took all the hub's places and memory for as long as they liked.
#[tokio::test]
async fn a_connection_that_the_hub_has_closed_is_soon_gone_whether_it_reads_or_not() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    sender.admit();
    // More than the system takes.
    let frame = "y".repeat(MAX_FRAME / 2);
    while sender.waiting.load(Ordering::Relaxed) < MAX_WAITING / 2 {
        assert!(sender.send(frame.clone()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sender.admission.close();
    drop(sender);
    assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
    drop(client);
}

/// Seen: whoever was closed for what he had sent, and did not read, left hundreds of connections to the system for seconds.
#[tokio::test]
async fn whoever_is_closed_and_does_not_say_that_he_has_seen_it_is_dropped() {
    for frame in [Frame::Binary(vec![1].into()), Frame::Close(None)] {
        let is_orderly = frame.is_close();
        let (address, mut received) = door(WebSocketSettings::default()).await;
        let mut client = connect(address).await;
        let (_, _, sender) = opened(&mut received).await;
        sender.admit();
        assert!(sender.send("y".repeat(MAX_FRAME / 2)));
        client.send(frame).await.unwrap();
        if is_orderly {
            rest(&mut client).await;
        }
        assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
        assert_eq!(sender.admission.is_ended(), !is_orderly);
    }
}

/// Seen: pages that were asked for and not read, of connections that nobody counted any more, took 100 MB of the system.
#[tokio::test]
async fn what_nobody_reads_is_thrown_away_soon_after_the_end() {
    let (address, _received) = door(WebSocketSettings::default()).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let page = "GET / HTTP/1.1\r\nhost: hub\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n";
    stream.write_all((page.repeat(300) + last).as_bytes()).await.unwrap();
    // It has written all, and lingers; then it is gone, and so is what was not read.
    tokio::time::sleep(2 * CLOSING).await;
    let mut read = Vec::new();
    let end = timeout(TIMEOUT, stream.read_to_end(&mut read)).await.expect("it ends");
    assert_eq!(
        end.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::ConnectionReset)
    );
    // Who reads gets all of it.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all((page.repeat(30) + last).as_bytes()).await.unwrap();
    let mut read = String::new();
    timeout(TIMEOUT, stream.read_to_string(&mut read))
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(read.matches("HTTP/1.1 200").count(), 31);
}

/// Connections that were admitted, two more than may be over at a time.
async fn two_too_many() -> (mpsc::Receiver<HubInput>, Vec<Client>, Vec<HubSender>) {
    let settings = WebSocketSettings {
        pending_per_source: 100,
        ..WebSocketSettings::default()
    };
    let (address, mut received) = door(settings).await;
    let (mut clients, mut senders) = (Vec::new(), Vec::new());
    for _ in 0..MAX_OVER + 2 {
        clients.push(connect(address).await);
        let (_, _, sender) = opened(&mut received).await;
        sender.admit();
        senders.push(sender);
    }
    (received, clients, senders)
}

#[tokio::test]
async fn few_that_the_hub_has_closed_stay_at_once() {
    let (_received, _clients, senders) = two_too_many().await;
    let admissions: Vec<_> = senders.iter().map(|sender| Arc::clone(&sender.admission)).collect();
    for sender in senders {
        sender.admission.close();
    }
    let ended: Vec<_> = admissions.iter().map(|admission| admission.is_ended()).collect();
    let at_once = ended.iter().filter(|ended| **ended).count();
    assert!(at_once == 2 && ended.ends_with(&[true, true]), "{ended:?}");
}

/// Seen: who was closed for what he had sent took a second for that and one to linger, and any number did at once.
#[tokio::test]
async fn whoever_is_over_has_one_second_in_all() {
    let (_received, mut clients, senders) = two_too_many().await;
    let over = || senders[0].admission.count_over();
    for client in &mut clients {
        client.send(Frame::Binary(vec![1].into())).await.unwrap();
    }
    while over() < MAX_OVER {
        tokio::task::yield_now().await;
    }
    let began = tokio::time::Instant::now();
    // They see it and say so in the middle of their second; their side stays open.
    tokio::time::sleep(CLOSING / 2).await;
    for client in &mut clients {
        let _ = timeout(TIMEOUT, client.next()).await;
    }
    while over() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() < CLOSING + CLOSING / 4, "{:?}", began.elapsed());
}

/// Bytes count, not frames: a relay passes large ones on.
#[tokio::test]
async fn what_waits_for_a_peer_is_half_a_megabyte_at_most() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    let frame = "y".repeat(MAX_FRAME / 2);
    // Whoever reads may have any number.
    for _ in 0..20 {
        assert!(sender.send(frame.clone()));
        // There may be a ping between them.
        let read = async { while client.next().await.unwrap().unwrap().into_data().len() != frame.len() {} };
        timeout(TIMEOUT, read).await.expect("it comes");
        while sender.waiting.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }
    // None of these can have been written yet: nothing else runs between them.
    let taken = (0..256).take_while(|_| sender.send(frame.clone())).count();
    assert_eq!(taken, 4);
    assert!(matches!(next(&mut received).await.event, HubEvent::Closed));
}

/// Seen: a session for which 256 events had waited was closed as a slow reader when it was resumed.
#[tokio::test]
async fn all_that_has_waited_for_a_session_goes_at_once() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    // A welcome, and 256 events of 1 KiB; then what a gateway may have waiting.
    for (count, size) in [(257, 1024), (4097, 60)] {
        let frame = "y".repeat(size);
        assert!((0..count).all(|_| sender.send(frame.clone())));
        let read = async {
            for _ in 0..count {
                while client.next().await.unwrap().unwrap().into_data().len() != size {}
            }
        };
        timeout(TIMEOUT, read).await.expect("they come");
    }
}

#[tokio::test]
async fn plain_http_is_answered() {
    let (address, _received) = door(WebSocketSettings::default()).await;
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(TIMEOUT, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    };
    let answer = ask("/").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("docs/hub-protocol.md"),
        "{answer}"
    );
    assert!(ask("/hub/v1").await.starts_with("HTTP/1.1 400"));
    assert!(ask("/other").await.starts_with("HTTP/1.1 404"));
    let endless = format!("/ HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    assert!(ask(&endless).await.starts_with("HTTP/1.1 431"));
}

/// A deadline that comes soon, for connections that let it pass.
fn hurried() -> WebSocketSettings {
    WebSocketSettings {
        hello: Duration::from_millis(300),
        ..WebSocketSettings::default()
    }
}

/// Reads until the connection is closed or reset, either is an end; how much came.
async fn drained(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> usize {
    let mut rest = Vec::new();
    let _ = timeout(TIMEOUT, stream.read_to_end(&mut rest))
        .await
        .expect("closed in time");
    rest.len()
}

#[tokio::test]
async fn a_connection_is_dropped_at_its_deadline_whatever_it_does() {
    let (address, mut received) = door(hurried()).await;
    let started = Instant::now();
    let busy = async {
        // Nothing at all; half a request; a request a byte at a time; one request after the other, all answered.
        let (mut silent, mut half) = (
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        );
        half.write_all(b"GET / HT").await.unwrap();
        let mut drip = TcpStream::connect(address).await.unwrap();
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            if drip.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let asking = async {
            while write.write_all(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (answered, ()) = tokio::join!(drained(&mut read), asking);
        assert!(answered > 1000, "several were answered");
        assert_eq!(drained(&mut silent).await + drained(&mut half).await, 0);
    };
    timeout(TIMEOUT, busy).await.expect("all are dropped");

    // A WebSocket that says nothing, and one that talks but whose hello nobody accepts.
    let mut mute = connect(address).await;
    let (muted, _, _mute_sender) = opened(&mut received).await;
    rest(&mut mute).await;
    let input = next(&mut received).await;
    assert!(matches!(input.event, HubEvent::Closed) && input.conn == muted);
    let mut talker = connect(address).await;
    let (_, _, _sender) = opened(&mut received).await;
    let chat = async {
        while talker.send(Frame::text("{}")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let heard = async { while !matches!(next(&mut received).await.event, HubEvent::Closed) {} };
    timeout(TIMEOUT, async { tokio::join!(chat, heard) })
        .await
        .expect("dropped");
    assert!(started.elapsed() >= 3 * hurried().hello, "each had its time");
}

#[tokio::test]
async fn a_connection_that_asks_and_never_reads_is_dropped_at_its_deadline() {
    let (address, _received) = door(hurried()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let requests = "GET / HTTP/1.1\r\nHost: hub\r\n\r\n".repeat(1000);
    let mut written = 0;
    let flood = async {
        while stream.write_all(requests.as_bytes()).await.is_ok() {
            written += requests.len();
        }
    };
    timeout(TIMEOUT, flood).await.expect("the connection is reset");
    assert!(written > 0);
}

#[tokio::test]
async fn an_accepted_hello_lifts_the_deadline() {
    let (address, mut received) = door(hurried()).await;
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    sender.admit();
    tokio::time::sleep(2 * hurried().hello).await;
    client.send(Frame::text("still here")).await.unwrap();
    assert!(matches!(next(&mut received).await.event, HubEvent::Text(_)));
}

#[tokio::test]
async fn little_is_read_before_the_hello_is_accepted_and_all_after() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let mut client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    client.send(Frame::text("a".repeat(MAX_FRAME))).await.unwrap();
    let early = timeout(Duration::from_millis(200), received.recv()).await;
    assert!(early.is_err(), "a frame of {MAX_FRAME} bytes is no hello: {early:?}");
    sender.admit();
    assert!(matches!(next(&mut received).await.event, HubEvent::Text(text) if text.len() == MAX_FRAME));
}

#[tokio::test]
async fn a_full_house_lets_the_newest_in_and_a_user_is_never_put_out() {
    let settings = WebSocketSettings {
        connections: 4,
        pending: 3,
        ..WebSocketSettings::default()
    };
    let (address, mut received) = door(settings).await;
    let mut user = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    sender.admit();
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(TcpStream::connect(address).await);
    }
    // The oldest of the eight have made room for the newest, some perhaps at once, and two of these for two more users.
    for mut gone in idle.drain(..5).flatten() {
        assert_eq!(drained(&mut gone).await, 0);
    }
    let mut others = Vec::new();
    for _ in 0..2 {
        let client = connect(address).await;
        let (_, _, sender) = opened(&mut received).await;
        sender.admit();
        others.push((client, sender));
    }
    user.send(Frame::text("still here")).await.unwrap();
    assert!(matches!(next(&mut received).await.event, HubEvent::Text(_)));
    // Three users and one that says nothing: all places are taken, and the fourth user takes the last.
    let client = connect(address).await;
    let (_, _, sender) = opened(&mut received).await;
    sender.admit();
    for mut gone in idle.into_iter().flatten() {
        assert_eq!(drained(&mut gone).await, 0);
    }
    // Now a newcomer waits until somebody leaves.
    let mut waiting = tokio::spawn(connect(address));
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    drop((client, sender));
    timeout(TIMEOUT, waiting).await.expect("a place is free").unwrap();
}

/// Asks for a WebSocket with these headers more; the status of the answer.
async fn status(address: SocketAddr, headers: &[(&'static str, &str)]) -> (u16, Option<Client>) {
    let mut request = format!("ws://{address}/hub/v1").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((client, answer)) => (answer.status().as_u16(), Some(client)),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => (answer.status().as_u16(), None),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_page_of_a_strangers_site_gets_no_connection() {
    let settings = WebSocketSettings {
        origins: vec!["https://phone.example".parse().unwrap()],
        ..WebSocketSettings::default()
    };
    let (address, mut received) = door(settings).await;
    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        "https://phone.example.evil.example",
    ] {
        assert_eq!(status(address, &[("origin", origin)]).await.0, 403, "{origin}");
    }
    let own = format!("http://{address}");
    let mut clients = Vec::new();
    for headers in [
        &[][..],
        &[("origin", own.as_str())],
        &[("origin", "https://phone.example")],
        &[("origin", "https://hub.example"), ("x-forwarded-host", "hub.example")],
    ] {
        let (status, client) = status(address, headers).await;
        assert_eq!(status, 101, "{headers:?}");
        clients.push((client, opened(&mut received).await));
    }
}

#[tokio::test]
async fn a_source_behind_the_proxy_has_its_share_before_the_websocket() {
    let settings = WebSocketSettings {
        pending_per_source: 2,
        ..WebSocketSettings::default()
    };
    let (address, mut received) = door(settings).await;
    let ask = async |from: &str| status(address, &[("x-forwarded-for", from)]).await;
    let mut admissions = Vec::new();
    let mut clients = Vec::new();
    for from in [
        "192.0.2.7",
        "2001:db8::1",
        "192.0.2.7",
        "192.0.2.7",
        "2001:db8::2",
        "2001:db8::3",
        "2001:db8:0:1::",
    ] {
        let (status, client) = ask(from).await;
        assert_eq!(status, 101, "{from}");
        clients.extend(client);
        // Between them come those whose place was taken.
        let opened = async {
            loop {
                if let Some(HubInput {
                    event: HubEvent::Opened { sender, .. },
                    ..
                }) = received.recv().await
                {
                    return sender;
                }
            }
        };
        admissions.push(timeout(TIMEOUT, opened).await.expect("it is opened"));
    }
    // The oldest of each source has made room for its third.
    let pending: Vec<bool> = admissions.iter().map(|one| one.admission.is_pending()).collect();
    assert_eq!(pending, [false, false, true, true, true, true, true]);
}

#[tokio::test]
async fn a_proxy_on_this_machine_names_the_source() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let mut request = format!("ws://{address}/hub/v1").into_client_request().unwrap();
    request
        .headers_mut()
        .insert("x-forwarded-for", "10.9.9.9, 192.0.2.77".parse().unwrap());
    let (_client, _) = connect_async(request).await.unwrap();
    let (_, source, _sender) = opened(&mut received).await;
    assert_eq!(source.ip().to_string(), "192.0.2.77");

    let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), "192.0.2.77".parse().unwrap())]);
    let stranger: SocketAddr = "198.51.100.1:9".parse().unwrap();
    assert_eq!(super::source(stranger, &headers), stranger, "nobody else is believed");
    let proxy: SocketAddr = "127.0.0.1:9".parse().unwrap();
    for (says, source) in [
        ("192.0.2.77:4000", "192.0.2.77"),
        ("[2001:db8::1]:4000", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", "127.0.0.1"),
        ("mü, 192.0.2.77", "192.0.2.77"),
    ] {
        let says = axum::http::HeaderValue::from_bytes(says.as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), says)]);
        assert_eq!(super::source(proxy, &headers).ip().to_string(), source);
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the hub's clock in a test over real sockets")]
async fn hello_over_a_real_socket() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let token = Token::generate(&mut ChaCha8Rng::seed_from_u64(1));
    let directory = Arc::new(Directory::default());
    directory.insert(Account::person(Name::new("anna").unwrap()), token.hash());
    let gateway = Name::new("gw").unwrap();
    let epoch = (Instant::now(), 0);
    let config = RendezvousConfig {
        gateway: Some(gateway),
        limits: Limits::default(),
        ice_servers: vec![],
        epoch,
    };
    tokio::spawn(async move {
        let mut hub = Rendezvous::new(config, directory, crate::io::signalling::generator());
        let mut connections = Connections::new();
        while let Some(input) = received.recv().await {
            connections.handle_input(Instant::now(), input, &mut hub);
            connections.flush(Instant::now(), &mut hub, &mut |_| ());
        }
    });
    let greet = async |token: Token| {
        let mut client = connect(address).await;
        let hello = Hello {
            protocol: PROTOCOL,
            client: ClientName::new("test").unwrap(),
            token,
            resume: None,
            receives: true,
        };
        let text = ClientFrame {
            id: 5,
            request: Request::Hello(hello),
        }
        .to_text();
        client.send(Frame::text(text)).await.unwrap();
        let answer = timeout(TIMEOUT, client.next()).await.unwrap().unwrap().unwrap();
        (ServerFrame::parse(answer.to_text().unwrap()).unwrap(), client)
    };
    let (answer, _client) = greet(token).await;
    assert!(
        matches!(
            answer,
            ServerFrame::Answer {
                id: Some(5),
                outcome: Ok(Reply::Welcome(_))
            }
        ),
        "{answer:?}"
    );
    let (answer, mut client) = greet(Token::generate(&mut ChaCha8Rng::seed_from_u64(2))).await;
    let ServerFrame::Answer {
        outcome: Err(failure), ..
    } = answer
    else {
        panic!("{answer:?}")
    };
    assert_eq!(failure.code, ErrorCode::Unauthorized);
    assert!(
        matches!(rest(&mut client).await[..], [Frame::Close(Some(_))]),
        "the answer comes before the close"
    );
}

/// Seen: pongs for a hub that pinged and did not read took 4 GB.
#[tokio::test]
async fn a_hub_that_pings_without_end_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let location = HubLocation::new(url.parse().unwrap(), None).unwrap();
    let mut connection = HubConnection::start(location);
    let (stream, _) = listener.accept().await.unwrap();
    let mut hub = tokio_tungstenite::accept_async(stream).await.unwrap();
    assert_eq!(connection.next().await, LinkEvent::Opened);
    let pings = async {
        let ping = || tokio_tungstenite::tungstenite::Message::Ping(vec![7; 125].into());
        while hub.send(ping()).await.is_ok() {}
    };
    timeout(TIMEOUT, pings).await.expect("it is closed");
    assert_eq!(timeout(TIMEOUT, connection.next()).await.unwrap(), LinkEvent::Closed);
}
