//! Calls: what is sent, what comes back, what is sent again.

use std::time::Duration;

use hoist_aws::{
    AwsError, Client, Config, Credentials, Environment, Overrides, Service, StaticCredentials,
    TransportKind, sigv4,
};
use serde_json::{Value, json};

use crate::script::{Act, Server};

fn client(url: &str) -> Client {
    client_with(url, |_| {})
}

fn client_with(url: &str, change: impl FnOnce(&mut Config)) -> Client {
    let overrides = Overrides {
        region: Some("eu-central-1".into()),
        endpoint_url: Some(url.to_owned()),
        credentials: Some(StaticCredentials {
            access_key_id: "AKID".into(),
            secret_access_key: "sesame".into(),
            session_token: None,
        }),
        ..Overrides::default()
    };
    let mut config = Config::load_from(Environment::default(), overrides).unwrap();
    config.retries.base = Duration::from_millis(1);
    config.retries.throttled_base = Duration::from_millis(1);
    change(&mut config);
    Client::new(config).unwrap()
}

async fn describe(client: &Client) -> Result<Value, AwsError> {
    client
        .json(
            Service::Ecs,
            "DescribeServices",
            json!({"services": ["web"]}),
        )
        .await
}

#[tokio::test]
async fn a_json_call_is_signed_over_what_is_sent() {
    let server = Server::scripted(vec![Act::ok(
        r#"{"services":[{"serviceName":"web","fieldOfTomorrow":{"a":[1]}}]}"#,
    )])
    .await;
    let answer = describe(&client(&server.url())).await.unwrap();
    assert_eq!(answer["services"][0]["fieldOfTomorrow"]["a"][0], 1);
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST / HTTP/1.1");
    assert_eq!(
        seen.header("x-amz-target"),
        "AmazonEC2ContainerServiceV20141113.DescribeServices"
    );
    assert_eq!(seen.header("content-type"), "application/x-amz-json-1.1");
    assert_eq!(seen.body, r#"{"services":["web"]}"#);
    let headers: Vec<(&str, &str)> = ["content-type", "host", "x-amz-date", "x-amz-target"]
        .into_iter()
        .map(|name| (name, seen.header(name)))
        .collect();
    let time =
        jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", seen.header("x-amz-date")).unwrap();
    let expected = sigv4::authorization(
        &sigv4::Request {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body: seen.body.as_bytes(),
        },
        &sigv4::Scope {
            region: "eu-central-1",
            service: "ecs",
            time: time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp(),
        },
        &Credentials::fixed("AKID", "sesame", None),
    );
    assert_eq!(seen.header("authorization"), expected);
}

#[tokio::test]
async fn a_query_call_sends_a_form_and_reads_xml() {
    let xml = "<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions><member><Target><Id>10.0.0.7</Id></Target></member></TargetHealthDescriptions></DescribeTargetHealthResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></DescribeTargetHealthResponse>";
    let server = Server::scripted(vec![Act::ok(xml)]).await;
    let params = json!({"TargetGroupArn": "arn:tg", "Targets": [{"Id": "10.0.0.7"}]});
    let answer = client(&server.url())
        .query(Service::Elbv2, "DescribeTargetHealth", &params)
        .await
        .unwrap();
    assert_eq!(
        hoist_aws::read::targets(&answer).next().unwrap().id(),
        "10.0.0.7"
    );
    let body = &server.seen()[0].body;
    assert_eq!(
        body,
        "Action=DescribeTargetHealth&Version=2015-12-01&TargetGroupArn=arn%3Atg&Targets.member.1.Id=10.0.0.7"
    );
}

#[tokio::test]
async fn a_server_that_fails_for_a_while_is_outlasted() {
    let html = Act::Answer(502, vec![], "<html>Bad Gateway</html>".into());
    let server = Server::scripted(vec![
        Act::error(500, "ServerException", ""),
        Act::Reset,
        Act::HalfAnswer,
        html,
        Act::ok("{}"),
    ])
    .await;
    let client = client(&server.url());
    assert_eq!(describe(&client).await.unwrap(), json!({}));
    assert_eq!(server.seen().len(), 5);
    assert_eq!(
        client.calls()[&(Service::Ecs, "DescribeServices".to_owned())],
        5
    );
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_given_up_with_its_last_error() {
    let server = Server::scripted(vec![
        Act::error(500, "ServerException", "Internal").with("x-amzn-requestid", "r-7"),
    ])
    .await;
    let error = describe(&client_with(&server.url(), |config| {
        config.retries.max_attempts = 3
    }))
    .await
    .unwrap_err();
    assert_eq!(
        (error.code(), error.request_id()),
        (Some("ServerException"), Some("r-7"))
    );
    assert_eq!(
        error.to_string(),
        "ecs:DescribeServices was refused: ServerException: Internal"
    );
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn throttling_is_waited_out_beyond_the_attempts_of_other_failures() {
    let mut acts = vec![Act::error(400, "ThrottlingException", "Rate exceeded"); 6];
    acts.push(Act::ok("{}"));
    let server = Server::scripted(acts).await;
    describe(&client_with(&server.url(), |config| {
        config.retries.max_attempts = 2
    }))
    .await
    .unwrap();
    assert_eq!(server.seen().len(), 7);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let server = Server::scripted(vec![Act::error(
        400,
        "ServiceNotFoundException",
        "Service not found.",
    )])
    .await;
    let error = describe(&client(&server.url())).await.unwrap_err();
    assert!(error.is_not_found() && !error.is_throttling());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_registration_whose_outcome_is_unknown_is_looked_for_before_it_is_repeated() {
    let server = Server::scripted(vec![
        Act::Reset,
        Act::HalfAnswer,
        Act::ok(r#"{"taskDefinition":{"revision":9}}"#),
    ])
    .await;
    let client = client(&server.url());
    let error = client
        .json(
            Service::Ecs,
            "RegisterTaskDefinition",
            json!({"family": "web"}),
        )
        .await
        .unwrap_err();
    assert!(error.may_have_happened(), "{error}");
    assert_eq!(server.seen().len(), 1);
    let looked = std::sync::atomic::AtomicU32::new(0);
    let answer = client
        .json_or_find(
            Service::Ecs,
            "RegisterTaskDefinition",
            json!({"family": "web"}),
            || async {
                looked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(None)
            },
        )
        .await
        .unwrap();
    assert_eq!(
        (
            answer["taskDefinition"]["revision"].as_i64(),
            looked.into_inner()
        ),
        (Some(9), 1)
    );

    let server = Server::scripted(vec![Act::Reset]).await;
    let found = client_with(&server.url(), |_| {})
        .json_or_find(
            Service::Ecs,
            "RegisterTaskDefinition",
            json!({}),
            || async { Ok(Some(json!({"found": true}))) },
        )
        .await
        .unwrap();
    assert_eq!((found, server.seen().len()), (json!({"found": true}), 1));
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_from_the_answer() {
    let server = Server::start(|number, seen| {
        if number == 0 {
            Act::error(403, "InvalidSignatureException", "Signature expired: 20300101T000000Z is now earlier than 20300101T001000Z (20300101T001500Z - 5 min.)")
                .with("date", "Tue, 01 Jan 2030 00:15:00 GMT")
        } else {
            Act::ok(&json!({"date": seen.header("x-amz-date")}).to_string())
        }
    })
    .await;
    let client = client(&server.url());
    let answer = describe(&client).await.unwrap();
    let date = answer["date"].as_str().unwrap();
    assert!(
        date.starts_with("20300101T0015") || date.starts_with("20300101T001459"),
        "{date}"
    );
    describe(&client).await.unwrap();
    assert_eq!(server.seen().len(), 3, "the correction is kept");
}

#[tokio::test]
async fn a_wrong_secret_is_not_taken_for_a_wrong_clock() {
    let refusal = Act::error(
        403,
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided.",
    )
    .with("date", "Tue, 01 Jan 2030 00:15:00 GMT");
    let server = Server::scripted(vec![refusal]).await;
    let error = describe(&client(&server.url())).await.unwrap_err();
    assert!(error.is_invalid_credentials() && error.is_credentials());
    assert!(error.hint().unwrap().contains("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn nothing_listening_is_a_connection_error_with_a_next_step() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = describe(&client_with(&url, |config| config.retries.max_attempts = 2))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            AwsError::Transport {
                kind: TransportKind::Connect,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains(&url));
    assert!(!error.may_have_happened());
}

#[tokio::test]
async fn a_host_without_an_address_is_told_from_one_that_does_not_answer() {
    let error = describe(&client("http://no-such-host.localhost.invalid"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            AwsError::Transport {
                kind: TransportKind::Resolve,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("region"), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_never_comes_ends_with_the_attempt() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let error = describe(&client_with(&url, |config| {
        config.retries.attempt_timeout = Duration::from_millis(50);
        config.retries.max_attempts = 2;
    }))
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            AwsError::Transport {
                kind: TransportKind::Timeout,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_account_is_asked_for_once() {
    let xml = "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>000000000000</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";
    let server = Server::scripted(vec![Act::ok(xml)]).await;
    let client = client(&server.url());
    assert_eq!(client.account().await.unwrap(), "000000000000");
    assert_eq!(client.clone().account().await.unwrap(), "000000000000");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_page_that_is_no_answer_is_an_error_that_names_the_endpoint() {
    let server = Server::scripted(vec![Act::ok("<html>Welcome to the hotel</html>")]).await;
    let error = describe(&client_with(&server.url(), |config| {
        config.retries.max_attempts = 1
    }))
    .await
    .unwrap_err();
    assert!(matches!(error, AwsError::Decode { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("captive portal"));
}
