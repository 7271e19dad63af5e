//! Every source of keys, and their order.

use std::path::Path;

use base64::Engine as _;
use hoist_aws::{AwsError, Client, Config, Credentials, Environment, Overrides, Service};
use serde_json::json;

use crate::script::{Act, Seen, Server};

struct Home(tempfile::TempDir);

impl Home {
    fn new(config: &str, credentials: &str) -> Home {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".aws/sso/cache")).unwrap();
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        Home(home)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A client in an environment where nothing is asked of the network unless it is named.
fn client(home: &Home, vars: &[(&str, &str)], overrides: Overrides) -> Result<Client, AwsError> {
    let mut all = vec![
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    all.extend_from_slice(vars);
    Ok(Client::new(Config::load_from(
        Environment::of(all),
        overrides,
    )?)?)
}

async fn keys(home: &Home, vars: &[(&str, &str)]) -> Result<Credentials, AwsError> {
    client(home, vars, Overrides::default())?
        .credentials()
        .await
}

fn hint(error: &AwsError) -> String {
    error.hint().unwrap_or_default()
}

fn sts_answer(action: &str, key: &str) -> String {
    format!(
        "<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>token-of-{key}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></{action}Result></{action}Response>"
    )
}

#[tokio::test]
async fn the_environment_comes_before_the_profile_unless_a_profile_is_named_by_the_caller() {
    let home = Home::new(
        "[profile prod]\nregion=eu-west-1\n",
        "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n[prod]\naws_access_key_id=PROD\naws_secret_access_key=s\naws_session_token=t\n",
    );
    let env = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    assert_eq!(keys(&home, &env).await.unwrap().access_key_id, "ENV");
    assert_eq!(keys(&home, &[]).await.unwrap().access_key_id, "FILE");
    let prod = keys(&home, &[("AWS_PROFILE", "prod")]).await.unwrap();
    assert_eq!(
        (
            prod.access_key_id.as_str(),
            prod.session_token.as_deref(),
            prod.source.as_str()
        ),
        ("PROD", Some("t"), "profile \"prod\"")
    );
    let named = Overrides {
        profile: Some("prod".into()),
        ..Overrides::default()
    };
    assert_eq!(
        client(&home, &env, named)
            .unwrap()
            .credentials()
            .await
            .unwrap()
            .access_key_id,
        "PROD"
    );
}

#[tokio::test]
async fn no_keys_anywhere_lists_what_was_tried() {
    let home = Home::new("", "");
    let error = keys(&home, &[("AWS_ACCESS_KEY_ID", "half")])
        .await
        .unwrap_err();
    let hint = hint(&error);
    for part in [
        "AWS_SECRET_ACCESS_KEY is not",
        "profile \"default\"",
        "AWS_EC2_METADATA_DISABLED is true",
        "container role",
        "GitHub",
    ] {
        assert!(hint.contains(part), "{part} in {hint}");
    }
}

#[tokio::test]
async fn a_chain_of_roles_is_followed_to_its_first_keys() {
    let home = Home::new(
        "[profile base]\naws_access_key_id=BASE\naws_secret_access_key=s\n[profile middle]\nrole_arn=arn:aws:iam::1:role/middle\nsource_profile=base\n[profile deploy]\nrole_arn=arn:aws:iam::2:role/deploy\nsource_profile=middle\nexternal_id=x-1\nrole_session_name=me\n",
        "",
    );
    let server = Server::start(|number, _| {
        Act::ok(&sts_answer(
            "AssumeRole",
            ["MIDDLE", "DEPLOY"][number.min(1)],
        ))
    })
    .await;
    let found = keys(
        &home,
        &[
            ("AWS_PROFILE", "deploy"),
            ("AWS_ENDPOINT_URL_STS", &server.url()),
        ],
    )
    .await
    .unwrap();
    assert_eq!(
        (found.access_key_id.as_str(), found.session_token.as_deref()),
        ("DEPLOY", Some("token-of-DEPLOY"))
    );
    let seen = server.seen();
    assert_eq!(
        seen.iter().map(Seen::key_id).collect::<Vec<_>>(),
        ["BASE", "MIDDLE"]
    );
    assert_eq!(seen[1].header("x-amz-security-token"), "token-of-MIDDLE");
    assert!(
        seen[1].body.contains("ExternalId=x-1") && seen[1].body.contains("RoleSessionName=me"),
        "{}",
        seen[1].body
    );
}

#[tokio::test]
async fn a_circle_of_roles_is_an_error() {
    let home = Home::new(
        "[profile a]\nrole_arn=arn:a\nsource_profile=b\n[profile b]\nrole_arn=arn:b\nsource_profile=a\n",
        "",
    );
    let error = keys(&home, &[("AWS_PROFILE", "a")]).await.unwrap_err();
    assert!(error.to_string().contains("comes back"), "{error}");
}

#[tokio::test]
async fn a_token_file_is_exchanged_without_a_signature() {
    let home = Home::new("", "");
    let file = home.path().join("token");
    std::fs::write(&file, "jwt\n").unwrap();
    let server = Server::scripted(vec![Act::ok(&sts_answer(
        "AssumeRoleWithWebIdentity",
        "WEB",
    ))])
    .await;
    let vars = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"),
        ("AWS_ENDPOINT_URL", &server.url()),
    ];
    assert_eq!(keys(&home, &vars).await.unwrap().access_key_id, "WEB");
    let seen = &server.seen()[0];
    assert!(
        seen.body.contains("WebIdentityToken=jwt") && seen.header("authorization").is_empty(),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_github_job_assumes_its_role_and_a_refusal_shows_the_token_claims() {
    let home = Home::new("", "");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"iss":"https://token.actions.githubusercontent.com","aud":"sts.amazonaws.com","sub":"repo:o/r:ref:refs/heads/main"}"#);
    let token = format!("h.{claims}.s");
    let answer = json!({"value": token}).to_string();
    let server = Server::start(move |_, seen| match seen.line.starts_with("GET") {
        true => Act::ok(&answer),
        false if seen.body.contains("denied") => Act::Answer(
            403,
            vec![],
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>".into(),
        ),
        false => Act::ok(&sts_answer("AssumeRoleWithWebIdentity", "GITHUB")),
    })
    .await;
    let request_url = format!("{}/token?api-version=2.0", server.url());
    let vars = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", request_url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-1"),
        ("AWS_ENDPOINT_URL", &server.url()),
        ("GITHUB_RUN_ID", "77"),
    ];
    let role = |arn: &str| Overrides {
        github_role: Some(arn.into()),
        ..Overrides::default()
    };
    let found = client(&home, &vars, role("arn:aws:iam::1:role/ci"))
        .unwrap()
        .credentials()
        .await
        .unwrap();
    assert_eq!(
        (found.access_key_id.as_str(), found.source.as_str()),
        ("GITHUB", "GitHub Actions identity")
    );
    let seen = server.seen();
    assert_eq!(
        seen[0].line,
        "GET /token?api-version=2.0&audience=sts.amazonaws.com HTTP/1.1"
    );
    assert_eq!(seen[0].header("authorization"), "bearer bearer-1");
    assert!(
        seen[1].body.contains("RoleSessionName=hoist-77"),
        "{}",
        seen[1].body
    );
    let error = client(&home, &vars, role("arn:aws:iam::1:role/denied"))
        .unwrap()
        .credentials()
        .await
        .unwrap_err();
    assert!(
        hint(&error).contains("sub repo:o/r:ref:refs/heads/main"),
        "{}",
        hint(&error)
    );
    let mut implied = vars.to_vec();
    implied.push(("AWS_ROLE_ARN", "arn:aws:iam::1:role/ci"));
    assert_eq!(keys(&home, &implied).await.unwrap().access_key_id, "GITHUB");
    let error = client(&home, &[], role("arn:aws:iam::1:role/ci"))
        .unwrap()
        .credentials()
        .await
        .unwrap_err();
    assert!(hint(&error).contains("id-token: write"), "{}", hint(&error));
}

#[tokio::test]
async fn an_sso_session_is_exchanged_and_an_ended_one_says_how_to_sign_in() {
    let home = Home::new(
        "[profile dev]\nsso_session=corp\nsso_account_id=123456789012\nsso_role_name=Deploy\n[sso-session corp]\nsso_region=eu-central-1\nsso_start_url=https://corp.awsapps.com/start\n",
        "",
    );
    let server = Server::scripted(vec![Act::ok(r#"{"roleCredentials":{"accessKeyId":"SSO","secretAccessKey":"s","sessionToken":"t","expiration":4070908800000}}"#)]).await;
    let vars = [
        ("AWS_PROFILE", "dev"),
        ("AWS_ENDPOINT_URL_SSO", &server.url()),
    ];
    let error = keys(&home, &vars).await.unwrap_err();
    assert!(
        hint(&error).contains("aws sso login --profile dev"),
        "{}",
        hint(&error)
    );
    assert!(server.seen().is_empty());
    // The cache file is named after the SHA-1 of the session's name.
    let cache = home
        .path()
        .join(".aws/sso/cache")
        .join(format!("{}.json", sha1_of_corp()));
    std::fs::write(
        cache,
        r#"{"accessToken":"sso-token","expiresAt":"2099-01-01T00:00:00Z"}"#,
    )
    .unwrap();
    assert_eq!(keys(&home, &vars).await.unwrap().access_key_id, "SSO");
    let seen = &server.seen()[0];
    assert_eq!(seen.header("x-amz-sso_bearer_token"), "sso-token");
    assert_eq!(
        seen.line,
        "GET /federation/credentials?role_name=Deploy&account_id=123456789012 HTTP/1.1"
    );
}

/// SHA-1 of "corp", as `printf corp | sha1sum` says.
fn sha1_of_corp() -> &'static str {
    "ee0bfd2552fbd840c02cc48b6e823320543c450f"
}

#[tokio::test]
async fn a_process_line_is_run_as_a_shell_does() {
    let home = Home::new("", "");
    let script = home.path().join("keys of mine.sh");
    std::fs::write(&script, r#"echo "{\"Version\":1,\"AccessKeyId\":\"$1\",\"SecretAccessKey\":\"s\",\"Expiration\":\"2099-01-01T00:00:00Z\"}""#).unwrap();
    let config = format!(
        "[default]\ncredential_process = sh \"{}\" \"PROC ESS\"\n[profile bad]\ncredential_process = sh -c \"echo no such vault >&2; exit 3\"\n",
        script.display()
    );
    std::fs::write(home.path().join(".aws/config"), config).unwrap();
    let found = keys(&home, &[]).await.unwrap();
    assert_eq!(
        (found.access_key_id.as_str(), found.expires.is_some()),
        ("PROC ESS", true)
    );
    let error = keys(&home, &[("AWS_PROFILE", "bad")]).await.unwrap_err();
    assert!(error.to_string().contains("no such vault"), "{error}");
}

#[tokio::test]
async fn a_container_asks_its_agent_with_its_token() {
    let home = Home::new("", "");
    let server = Server::scripted(vec![Act::ok(r#"{"AccessKeyId":"TASK","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z","RoleArn":"arn:r"}"#)]).await;
    let url = format!("{}/v2/credentials/1", server.url());
    let found = keys(
        &home,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "auth-1"),
        ],
    )
    .await
    .unwrap();
    assert_eq!(found.access_key_id, "TASK");
    assert_eq!(server.seen()[0].header("authorization"), "auth-1");
}

#[tokio::test]
async fn an_instance_gives_its_role_in_three_steps() {
    let home = Home::new("", "");
    let server = Server::start(|_, seen| {
        if seen.line.starts_with("PUT /latest/api/token") {
            Act::ok("imds-token")
        } else if seen.line.starts_with("GET /latest/meta-data/iam/security-credentials/ ") {
            Act::ok("deployer")
        } else {
            Act::ok(r#"{"Code":"Success","AccessKeyId":"INSTANCE","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#)
        }
    })
    .await;
    let vars = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url().leak()),
    ];
    assert_eq!(keys(&home, &vars).await.unwrap().access_key_id, "INSTANCE");
    assert_eq!(
        server.seen()[2].header("x-aws-ec2-metadata-token"),
        "imds-token"
    );
}

#[tokio::test]
async fn expired_keys_are_fetched_again_once() {
    let home = Home::new("", "");
    // The process gives a new key each time.
    let counter = home.path().join("count");
    let line = format!(
        "sh -c 'echo x >> {0}; echo \"{{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"K$(wc -l < {0} | tr -d \" \")\\\",\\\"SecretAccessKey\\\":\\\"s\\\"}}\"'",
        counter.display()
    );
    std::fs::write(
        home.path().join(".aws/config"),
        format!("[default]\ncredential_process = {line}\n"),
    )
    .unwrap();
    let server = Server::start(|_, seen| match seen.key_id() {
        "K1" => Act::error(
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        _ => Act::ok("{}"),
    })
    .await;
    let client = client(
        &home,
        &[("AWS_ENDPOINT_URL", &server.url())],
        Overrides::default(),
    )
    .unwrap();
    client
        .json(Service::Ecs, "ListClusters", json!({}))
        .await
        .unwrap();
    assert_eq!(
        server.seen().iter().map(Seen::key_id).collect::<Vec<_>>(),
        ["K1", "K2"]
    );
}

#[tokio::test]
async fn expired_keys_that_cannot_be_renewed_say_so() {
    let home = Home::new("", "");
    let server = Server::scripted(vec![Act::error(
        400,
        "ExpiredTokenException",
        "The security token included in the request is expired",
    )])
    .await;
    let vars = [
        ("AWS_ACCESS_KEY_ID", "OLD"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_SESSION_TOKEN", "t"),
        ("AWS_ENDPOINT_URL", &server.url()),
    ];
    let error = client(&home, &vars, Overrides::default())
        .unwrap()
        .json(Service::Ecs, "ListClusters", json!({}))
        .await
        .unwrap_err();
    assert!(error.is_expired_credentials() && hint(&error).contains("expired"));
    assert_eq!(server.seen().len(), 1);
}
