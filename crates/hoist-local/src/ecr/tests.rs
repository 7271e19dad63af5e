use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hoist_oci::Digest;
use hoist_oci::spec::{Descriptor, Manifest, media_type};
use serde_json::{Value, json};

use super::handle;
use crate::api::ApiError;
use crate::registry::Registry;
use crate::registry::testing::{call, manifest, registry};

const REGION: &str = "eu-central-1";

fn ask(registry: &Registry, action: &str, params: Value) -> Result<Value, ApiError> {
    handle(registry, &call(REGION, action, params))
}

fn create(registry: &Registry, name: &str) -> Value {
    ask(
        registry,
        "CreateRepository",
        json!({"repositoryName": name}),
    )
    .unwrap()["repository"]
        .clone()
}

fn refusal(result: Result<Value, ApiError>) -> (String, String) {
    let error = result.unwrap_err();
    (error.code, error.message)
}

#[test]
fn a_repository_is_made_described_tagged_and_removed() {
    let (_folder, registry) = registry();
    let made = create(&registry, "shop/web");
    assert_eq!(made["repositoryUri"], "127.0.0.1:4566/shop/web");
    assert_eq!(
        made["repositoryArn"],
        "arn:aws:ecr:eu-central-1:000000000000:repository/shop/web"
    );
    assert_eq!(made["imageTagMutability"], "MUTABLE");
    assert_eq!(
        made["encryptionConfiguration"],
        json!({"encryptionType": "AES256"})
    );
    let again = ask(
        &registry,
        "CreateRepository",
        json!({"repositoryName": "shop/web"}),
    );
    assert_eq!(
        refusal(again),
        (
            "RepositoryAlreadyExistsException".to_owned(),
            "The repository with name 'shop/web' already exists in the registry with id '000000000000'".to_owned()
        )
    );
    assert_eq!(
        refusal(ask(
            &registry,
            "CreateRepository",
            json!({"repositoryName": "Shop"})
        ))
        .0,
        "InvalidParameterException"
    );

    let arn = made["repositoryArn"].clone();
    let tags = json!([{"Key": "hoist:app", "Value": "shop"}, {"Key": "x", "Value": "1"}]);
    ask(
        &registry,
        "TagResource",
        json!({"resourceArn": arn, "tags": tags}),
    )
    .unwrap();
    ask(
        &registry,
        "UntagResource",
        json!({"resourceArn": arn, "tagKeys": ["x"]}),
    )
    .unwrap();
    let listed = ask(
        &registry,
        "ListTagsForResource",
        json!({"resourceArn": arn}),
    )
    .unwrap();
    assert_eq!(
        listed["tags"],
        json!([{"Key": "hoist:app", "Value": "shop"}])
    );

    create(&registry, "another");
    let first = ask(&registry, "DescribeRepositories", json!({"maxResults": 1})).unwrap();
    assert_eq!(first["repositories"][0]["repositoryName"], "another");
    let second = ask(
        &registry,
        "DescribeRepositories",
        json!({"maxResults": 1, "nextToken": first["nextToken"]}),
    )
    .unwrap();
    assert_eq!(second["repositories"][0]["repositoryName"], "shop/web");
    assert!(second.get("nextToken").is_none());
    let elsewhere = handle(
        &registry,
        &call("us-east-1", "DescribeRepositories", json!({})),
    )
    .unwrap();
    assert_eq!(elsewhere["repositories"], json!([]));

    ask(
        &registry,
        "DeleteRepository",
        json!({"repositoryName": "another"}),
    )
    .unwrap();
    assert_eq!(
        refusal(ask(&registry, "DescribeRepositories", json!({"repositoryNames": ["another"]}))),
        (
            "RepositoryNotFoundException".to_owned(),
            "The repository with name 'another' does not exist in the registry with id '000000000000'".to_owned()
        )
    );
    let other = ask(
        &registry,
        "DeleteRepository",
        json!({"repositoryName": "shop/web", "registryId": "111111111111"}),
    );
    assert!(refusal(other).1.ends_with("with id '111111111111'"));
}

#[test]
fn the_token_signs_docker_in_to_the_region() {
    let (_folder, registry) = registry();
    let answer = ask(&registry, "GetAuthorizationToken", json!({})).unwrap();
    let data = &answer["authorizationData"][0];
    assert_eq!(data["proxyEndpoint"], "http://127.0.0.1:4566");
    let header = format!("Basic {}", data["authorizationToken"].as_str().unwrap());
    let signed_in = registry.signed_in(Some(&header), crate::clock::now());
    assert_eq!(signed_in, crate::registry::SignedIn::To(REGION.to_owned()));
}

#[test]
fn images_are_put_described_fetched_and_deleted() {
    let (_folder, registry) = registry();
    create(&registry, "shop");
    let [first, second] = [b"1".as_slice(), b"22"].map(|layer| {
        let content = manifest(&registry, REGION, "shop", layer);
        (
            Digest::of(&content).to_string(),
            String::from_utf8(content).unwrap(),
        )
    });
    let put = |manifest: &str, tag: &str| {
        ask(
            &registry,
            "PutImage",
            json!({"repositoryName": "shop", "imageManifest": manifest, "imageTag": tag}),
        )
    };
    let image = put(&first.1, "v1").unwrap()["image"].clone();
    assert_eq!(
        image["imageId"],
        json!({"imageDigest": first.0, "imageTag": "v1"})
    );
    assert_eq!(image["imageManifestMediaType"], media_type::MANIFEST);
    assert_eq!(
        refusal(put(&first.1, "v1")).0,
        "ImageAlreadyExistsException"
    );
    put(&second.1, "v1").unwrap();
    put(&second.1, "v2").unwrap();

    let all = ask(
        &registry,
        "DescribeImages",
        json!({"repositoryName": "shop"}),
    )
    .unwrap()["imageDetails"]
        .clone();
    let of = |digest: &str| {
        all.as_array()
            .unwrap()
            .iter()
            .find(|one| one["imageDigest"] == digest)
            .unwrap()
            .clone()
    };
    assert_eq!(of(&first.0).get("imageTags"), None, "its tag moved");
    assert_eq!(of(&second.0)["imageTags"], json!(["v1", "v2"]));
    assert_eq!(of(&second.0)["imageSizeInBytes"], 2);
    let listed = |filter: &str| {
        let params = json!({"repositoryName": "shop", "filter": {"tagStatus": filter}});
        ask(&registry, "ListImages", params).unwrap()["imageIds"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        (listed("ANY"), listed("TAGGED"), listed("UNTAGGED")),
        (3, 2, 1)
    );

    let ids = json!([{"imageTag": "v1"}, {"imageTag": "v9"}]);
    let got = ask(
        &registry,
        "BatchGetImage",
        json!({"repositoryName": "shop", "imageIds": ids}),
    )
    .unwrap();
    assert_eq!(got["images"][0]["imageManifest"], second.1);
    let failure = json!({"imageId": {"imageTag": "v9"}, "failureCode": "ImageNotFound", "failureReason": "Requested image not found"});
    assert_eq!(got["failures"], json!([failure]));
    let missing = ask(
        &registry,
        "DescribeImages",
        json!({"repositoryName": "shop", "imageIds": [{"imageTag": "v9"}]}),
    );
    assert_eq!(
        refusal(missing),
        (
            "ImageNotFoundException".to_owned(),
            "The image with imageId {imageDigest:'null', imageTag:'v9'} does not exist within the repository with name 'shop' in the \
             registry with id '000000000000'"
                .to_owned()
        )
    );

    assert_eq!(
        refusal(ask(
            &registry,
            "DeleteRepository",
            json!({"repositoryName": "shop"})
        ))
        .0,
        "RepositoryNotEmptyException"
    );
    let delete = |id: Value| {
        ask(
            &registry,
            "BatchDeleteImage",
            json!({"repositoryName": "shop", "imageIds": [id]}),
        )
        .unwrap()["imageIds"]
            .clone()
    };
    assert_eq!(
        delete(json!({"imageTag": "v1"})),
        json!([{"imageDigest": second.0, "imageTag": "v1"}])
    );
    assert_eq!(listed("ANY"), 2, "the other tag holds the image");
    assert_eq!(
        delete(json!({"imageDigest": second.0})),
        json!([{"imageDigest": second.0, "imageTag": "v2"}])
    );
    assert_eq!(
        delete(json!({"imageDigest": first.0})),
        json!([{"imageDigest": first.0}])
    );
    ask(
        &registry,
        "DeleteRepository",
        json!({"repositoryName": "shop"}),
    )
    .unwrap();
    assert!(
        !registry.store().has(&Digest::of(b"22")),
        "what nothing refers to is gone"
    );
}

#[test]
fn immutable_tags_stay_where_they_are() {
    let (_folder, registry) = registry();
    create(&registry, "shop");
    let filters = json!([{"filterType": "WILDCARD", "filter": "cache*"}]);
    let params = json!({
        "repositoryName": "shop", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION", "imageTagMutabilityExclusionFilters": filters,
    });
    let answer = ask(&registry, "PutImageTagMutability", params).unwrap();
    assert_eq!(answer["imageTagMutability"], "IMMUTABLE_WITH_EXCLUSION");
    assert_eq!(answer["imageTagMutabilityExclusionFilters"], filters);
    let put = |layer: &[u8], tag: &str| {
        let content = String::from_utf8(manifest(&registry, REGION, "shop", layer)).unwrap();
        ask(
            &registry,
            "PutImage",
            json!({"repositoryName": "shop", "imageManifest": content, "imageTag": tag}),
        )
    };
    put(b"1", "v1").unwrap();
    put(b"1", "cache-a").unwrap();
    put(b"2", "cache-a").unwrap();
    let (code, message) = refusal(put(b"2", "v1"));
    assert_eq!(code, "ImageTagAlreadyExistsException");
    assert_eq!(
        message,
        "The image tag 'v1' already exists in the 'shop' repository and cannot be overwritten because the tag is immutable."
    );
    let wrong = json!({"repositoryName": "shop", "imageTagMutability": "SOMETIMES"});
    assert_eq!(
        refusal(ask(&registry, "PutImageTagMutability", wrong)).0,
        "InvalidParameterException"
    );
}

#[test]
fn a_layer_comes_in_by_parts_and_goes_out_by_url() {
    let (_folder, registry) = registry();
    create(&registry, "shop");
    let begun = ask(
        &registry,
        "InitiateLayerUpload",
        json!({"repositoryName": "shop"}),
    )
    .unwrap();
    let id = begun["uploadId"].clone();
    let part = |first: usize, bytes: &[u8]| {
        let params = json!({
            "repositoryName": "shop", "uploadId": id, "partFirstByte": first, "partLastByte": first + bytes.len() - 1,
            "layerPartBlob": BASE64.encode(bytes),
        });
        ask(&registry, "UploadLayerPart", params)
    };
    assert_eq!(part(0, b"hello").unwrap()["lastByteReceived"], 4);
    assert_eq!(refusal(part(9, b"x")).0, "InvalidLayerPartException");
    part(5, b" world").unwrap();
    let digest = Digest::of(b"hello world");
    let availability = || {
        let params = json!({"repositoryName": "shop", "layerDigests": [digest, "sha512:0"]});
        let answer = ask(&registry, "BatchCheckLayerAvailability", params).unwrap();
        assert_eq!(answer["failures"][0]["failureCode"], "InvalidLayerDigest");
        answer["layers"][0].clone()
    };
    assert_eq!(availability()["layerAvailability"], "UNAVAILABLE");
    let complete = json!({"repositoryName": "shop", "uploadId": id, "layerDigests": [digest]});
    assert_eq!(
        ask(&registry, "CompleteLayerUpload", complete.clone()).unwrap()["layerDigest"],
        digest.to_string()
    );
    assert_eq!(
        (
            &availability()["layerAvailability"],
            &availability()["layerSize"]
        ),
        (&json!("AVAILABLE"), &json!(11))
    );
    assert_eq!(
        refusal(ask(&registry, "CompleteLayerUpload", complete)).0,
        "UploadNotFoundException"
    );

    let url = ask(
        &registry,
        "GetDownloadUrlForLayer",
        json!({"repositoryName": "shop", "layerDigest": digest}),
    )
    .unwrap();
    let url = url["downloadUrl"].as_str().unwrap();
    assert!(
        url.starts_with(&format!(
            "http://127.0.0.1:4566/v2/shop/blobs/{digest}?token="
        )),
        "{url}"
    );
    let unknown = json!({"repositoryName": "shop", "layerDigest": Digest::of(b"unknown")});
    assert_eq!(
        refusal(ask(&registry, "GetDownloadUrlForLayer", unknown)).0,
        "LayersNotFoundException"
    );

    // A manifest whose layers are not there.
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let bare = serde_json::to_string(&Manifest::new(config, vec![])).unwrap();
    let put = ask(
        &registry,
        "PutImage",
        json!({"repositoryName": "shop", "imageManifest": bare, "imageTag": "v1"}),
    );
    assert_eq!(refusal(put).0, "LayersNotFoundException");
}

#[test]
fn policies_are_kept_as_they_were_given() {
    let (_folder, registry) = registry();
    create(&registry, "shop");
    for (set, get, delete, member, missing, text) in [
        (
            "SetRepositoryPolicy",
            "GetRepositoryPolicy",
            "DeleteRepositoryPolicy",
            "policyText",
            "RepositoryPolicyNotFoundException",
            r#"{ "Version": "2012-10-17", "Statement": [] }"#,
        ),
        (
            "PutLifecyclePolicy",
            "GetLifecyclePolicy",
            "DeleteLifecyclePolicy",
            "lifecyclePolicyText",
            "LifecyclePolicyNotFoundException",
            r#"{ "rules": [{ "rulePriority": 1, "selection": { "tagStatus": "any", "countType": "imageCountMoreThan",
               "countNumber": 9 }, "action": { "type": "expire" } }] }"#,
        ),
    ] {
        let name = json!({"repositoryName": "shop"});
        assert_eq!(refusal(ask(&registry, get, name.clone())).0, missing);
        ask(
            &registry,
            set,
            json!({"repositoryName": "shop", member: text}),
        )
        .unwrap();
        assert_eq!(ask(&registry, get, name.clone()).unwrap()[member], text);
        assert_eq!(
            refusal(ask(
                &registry,
                set,
                json!({"repositoryName": "shop", member: "{"})
            ))
            .0,
            "InvalidParameterException"
        );
        ask(&registry, delete, name.clone()).unwrap();
        assert_eq!(refusal(ask(&registry, delete, name)).0, missing);
    }
}
