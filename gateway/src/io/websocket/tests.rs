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
use crate::hub::{Directory, Limits, RendezvousConfig};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

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
    timeout(PATIENCE, received.recv())
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
    timeout(PATIENCE, all).await.expect("the connection ends")
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
    let (_, _, _sender) = opened(&mut received).await;
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
        let frame = timeout(PATIENCE, client.next())
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

#[tokio::test]
async fn plain_http_is_answered() {
    let (address, _received) = door(WebSocketSettings::default()).await;
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
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
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let settings = WebSocketSettings {
        request: Duration::from_millis(50),
        ..WebSocketSettings::default()
    };
    let (address, mut received) = door(settings).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let mut rest = Vec::new();
    // Closed or reset, either is an end.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("closed in time");
    // A WebSocket outlives that deadline.
    let mut client = connect(address).await;
    let (_, _, _sender) = opened(&mut received).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.send(Frame::text("still here")).await.unwrap();
    assert!(matches!(next(&mut received).await.event, HubEvent::Text(_)));
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
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the hub's clock in a test over real sockets")]
async fn hello_over_a_real_socket() {
    let (address, mut received) = door(WebSocketSettings::default()).await;
    let token = Token::generate(&mut ChaCha8Rng::seed_from_u64(1));
    let directory = Arc::new(Directory::default());
    directory.insert(Name::new("anna").unwrap(), token.hash());
    let gateway = Name::new("gw").unwrap();
    let epoch = (Instant::now(), 0);
    let config = RendezvousConfig {
        gateway,
        limits: Limits::default(),
        ice_servers: vec![],
        epoch,
    };
    tokio::spawn(async move {
        let mut hub = Rendezvous::new(config, directory);
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
        };
        let text = ClientFrame {
            id: 5,
            request: Request::Hello(hello),
        }
        .to_text();
        client.send(Frame::text(text)).await.unwrap();
        let answer = timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap();
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
