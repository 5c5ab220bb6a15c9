//! A CMPP 2.0 sender made of the crate cmppprotocol: connects, submits (every third one from a number that is to
//! be refused), waits for answers, reports and replies, lives through tests of the link, terminates, and prints
//! one JSON line. The arguments and the line are those of every peer in tests/interop: see peers.py.
//!
//! The crate answers reports and tests the link by itself, and drops a link whose test stays without an answer:
//! `active_tests` is 1 when the connection was still up after the longest time that it grants.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use cmppprotocol::{
    CMPP_VERSION_20, CmppConfig, CmppConnection, CmppProtocolParams, Event, SubmitOptions,
    decode_msg_content,
};
use tokio::time::{Instant, sleep, timeout_at};

const LINK_TIMEOUT: u64 = 2;

fn object<K: std::fmt::Display>(counts: &BTreeMap<K, usize>) -> String {
    let members: Vec<String> = counts
        .iter()
        .map(|(key, n)| format!("\"{key}\":{n}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> cmppprotocol::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options: HashMap<&str, &str> = words
        .chunks_exact(2)
        .map(|pair| (pair[0].trim_start_matches('-'), pair[1].as_str()))
        .collect();
    let option = |name: &str, default: &str| options.get(name).unwrap_or(&default).to_string();
    let number =
        |name: &str, default: &str| option(name, default).parse::<usize>().expect("a number");
    let (messages, replies) = (number("messages", "30"), number("replies", "0"));
    let answers = messages * number("parts", "1");
    let deadline = Instant::now() + Duration::from_secs(number("seconds", "30") as u64);

    let connection = CmppConnection::connect(CmppConfig {
        host: option("host", "127.0.0.1"),
        port: number("port", "7890") as i32,
        account: option("account", ""),
        password: option("secret", ""),
        version: CMPP_VERSION_20,
        protocol_params: CmppProtocolParams {
            heartbeat_interval: 1,
            response_timeout: LINK_TIMEOUT,
            retry_count: 2,
            verify_authenticator: option("verify", "yes") == "yes",
            ..CmppProtocolParams::default()
        },
    })
    .await?;
    let mut events = connection.take_events().await.expect("taken once");

    let sender = connection.clone();
    let (account, from, refused, text) = (
        option("account", ""),
        option("from", ""),
        option("refused-from", ""),
        option("text", ""),
    );
    let submitting = tokio::spawn(async move {
        for i in 0..messages {
            let source = if i % 3 == 2 { &refused } else { &from };
            let submit = SubmitOptions::new("SVC", &account, source, format!("1380000{i:04}"));
            sender.submit(&submit, &text, None).await?;
        }
        Ok::<usize, cmppprotocol::Error>(messages)
    });

    let mut results: BTreeMap<u8, usize> = BTreeMap::new();
    let mut reports: BTreeMap<String, usize> = BTreeMap::new();
    let mut texts: Vec<String> = Vec::new();
    let mut alive = true;
    while results.values().sum::<usize>() < answers
        || reports.values().sum::<usize>() < results.get(&0).copied().unwrap_or(0)
        || texts.len() < replies
    {
        match timeout_at(deadline, events.recv()).await {
            Ok(Some(Event::SubmitResp { result, .. })) => *results.entry(result).or_default() += 1,
            Ok(Some(Event::Deliver(deliver))) => match deliver.report() {
                Some(report) => *reports.entry(report.stat.clone()).or_default() += 1,
                None => texts.push(decode_msg_content(
                    deliver.msg_fmt,
                    deliver.tp_udhi,
                    &deliver.msg_content,
                )),
            },
            Ok(Some(Event::SubmitTimeout { sequence_id })) => {
                eprintln!("no answer to {sequence_id}")
            }
            Ok(Some(Event::Disconnected(error))) => {
                eprintln!("disconnected: {error}");
                alive = false;
                break;
            }
            Ok(None) | Err(_) => break,
        }
    }
    let submitted = submitting.await.expect("the submitting task")?;
    sleep(Duration::from_secs(3 * LINK_TIMEOUT)).await;
    while let Ok(event) = events.try_recv() {
        alive &= !matches!(event, Event::Disconnected(_));
    }
    alive &= !connection.is_closed();
    connection.close().await;

    let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    println!(
        "{{\"connected\":true,\"submitted\":{submitted},\"results\":{},\"reports\":{},\"replies\":[{}],\
         \"active_tests\":{},\"terminated\":{}}}",
        object(&results),
        object(&reports),
        quoted.join(","),
        u8::from(alive),
        connection.is_closed(),
    );
    Ok(())
}
