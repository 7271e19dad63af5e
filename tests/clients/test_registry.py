"""The registry against the OCI distribution specification 1.1 (`spec.md`): push, pull, content discovery, content management."""

import hashlib
import http.client
import json
import os
import urllib.parse

from base import Case, client

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Place(Case):
    """A repository, and requests to it."""

    def setUp(self):
        super().setUp()
        self.ecr = client("ecr")
        self.repository = self.name("oci")
        self.create(self.repository)
        token = self.ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        self.headers = {"Authorization": f"Basic {token}"}
        self.connection = http.client.HTTPConnection(urllib.parse.urlparse(os.environ["AWS_ENDPOINT_URL"]).netloc)
        self.addCleanup(self.connection.close)

    def create(self, name):
        self.ecr.create_repository(repositoryName=name)
        self.addCleanup(self.ecr.delete_repository, repositoryName=name, force=True)

    def ask(self, method, path, body=b"", status=200, **headers):
        """The headers and the body of an answer that must have a status."""
        path = path if path.startswith("/") else f"/v2/{self.repository}/{path}"
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, {**self.headers, **headers})
        answer = self.connection.getresponse()
        content = answer.read()
        self.assertEqual(answer.status, status, f"{method} {path}: {content[:300]}")
        if content and status >= 400:
            error = json.loads(content)["errors"][0]
            self.assertRegex(error["code"], "^[A-Z_]+$")
            return answer.headers, error["code"]
        return answer.headers, content

    def place(self, headers):
        url = urllib.parse.urlparse(headers["Location"])
        return url.path + (f"?{url.query}" if url.query else "")

    def with_digest(self, place, content):
        return f"{place}{'&' if '?' in place else '?'}digest={digest(content)}"

    def push_blob(self, content):
        headers, _ = self.ask("POST", "blobs/uploads/", status=202)
        headers, _ = self.ask("PUT", self.with_digest(self.place(headers), content), content, 201, Content_Type="application/octet-stream")
        return headers

    def manifest(self, layer, **members):
        config = json.dumps({"of": layer.decode()}).encode()
        for blob in (config, layer):
            self.push_blob(blob)
        return json.dumps({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)}],
            **members,
        }).encode()

    def push(self, reference, content, kind=MANIFEST, status=201):
        return self.ask("PUT", f"manifests/{reference}", content, status, Content_Type=kind)

class Registry(Place):
    # Pull

    def test_manifests_and_blobs_are_pulled_by_digest_and_tag(self):
        content = self.manifest(b"pulled")
        headers, _ = self.push("v1", content)
        self.assertEqual(headers["Docker-Content-Digest"], digest(content))
        for reference in ("v1", digest(content)):
            headers, body = self.ask("GET", f"manifests/{reference}", Accept=MANIFEST)
            self.assertEqual((body, headers["Content-Type"], headers["Docker-Content-Digest"]), (content, MANIFEST, digest(content)))
            headers, body = self.ask("HEAD", f"manifests/{reference}", Accept=MANIFEST)
            self.assertEqual((body, headers["Content-Length"]), (b"", str(len(content))))
        headers, body = self.ask("GET", f"blobs/{digest(b'pulled')}")
        self.assertEqual((body, headers["Docker-Content-Digest"]), (b"pulled", digest(b"pulled")))
        headers, _ = self.ask("HEAD", f"blobs/{digest(b'pulled')}")
        self.assertEqual(headers["Content-Length"], "6")
        _, part = self.ask("GET", f"blobs/{digest(b'pulled')}", status=206, Range="bytes=2-3")
        self.assertEqual(part, b"ll")

    def test_what_is_not_there_is_told_with_its_code(self):
        none = digest(b"none")
        for method in ("GET", "HEAD"):
            self.ask(method, "manifests/none", status=404)
            self.ask(method, f"manifests/{none}", status=404)
            self.ask(method, f"blobs/{none}", status=404)
        self.assertEqual(self.ask("GET", "manifests/none", status=404)[1], "MANIFEST_UNKNOWN")
        self.assertEqual(self.ask("GET", f"blobs/{none}", status=404)[1], "BLOB_UNKNOWN")
        self.assertEqual(self.ask("GET", "/v2/no/such/manifests/v1", status=404)[1], "NAME_UNKNOWN")
        self.ask("GET", "/v2/")

    # Push

    def test_a_blob_comes_in_one_request_in_two_or_in_pieces(self):
        once, twice, pieces = b"in one", b"in two", b"in pieces"
        headers, _ = self.ask("POST", f"blobs/uploads/?digest={digest(once)}", once, 201, Content_Type="application/octet-stream")
        self.assertTrue(headers["Location"].endswith(f"/blobs/{digest(once)}"))
        self.push_blob(twice)
        headers, _ = self.ask("POST", "blobs/uploads/", status=202, Content_Length="0")
        place = self.place(headers)
        headers, _ = self.ask("PATCH", place, pieces[:3], 202, Content_Range="0-2", Content_Type="application/octet-stream")
        self.assertEqual(headers["Range"], "0-2")
        place = self.place(headers)
        self.ask("PATCH", place, b"x", 416, Content_Range="7-7", Content_Type="application/octet-stream")
        headers, _ = self.ask("GET", place, status=204)
        self.assertEqual(headers["Range"], "0-2")
        headers, _ = self.ask("PATCH", place, pieces[3:6], 202, Content_Range="3-5", Content_Type="application/octet-stream")
        place = self.place(headers)
        last = self.with_digest(place, pieces)
        headers, _ = self.ask("PUT", last, pieces[6:], 201, Content_Range="6-8", Content_Type="application/octet-stream")
        for blob in (once, twice, pieces):
            self.assertEqual(self.ask("GET", f"blobs/{digest(blob)}")[1], blob)

    def test_a_blob_with_another_digest_and_a_cancelled_upload_are_refused(self):
        headers, _ = self.ask("POST", "blobs/uploads/", status=202)
        place = self.with_digest(self.place(headers), b"said")
        self.assertEqual(self.ask("PUT", place, b"sent", 400)[1], "DIGEST_INVALID")
        self.ask("HEAD", f"blobs/{digest(b'sent')}", status=404)
        headers, _ = self.ask("POST", "blobs/uploads/", status=202)
        place = self.place(headers)
        self.ask("DELETE", place, status=204)
        self.assertEqual(self.ask("GET", place, status=404)[1], "BLOB_UPLOAD_UNKNOWN")

    def test_a_blob_is_mounted_from_another_repository(self):
        other, blob = self.name("oci"), b"mounted"
        self.create(other)
        self.push_blob(blob)
        headers, _ = self.ask("POST", f"/v2/{other}/blobs/uploads/?mount={digest(blob)}&from={self.repository}", status=201)
        self.assertTrue(headers["Location"].endswith(f"/blobs/{digest(blob)}"))
        self.assertEqual(self.ask("GET", f"/v2/{other}/blobs/{digest(blob)}")[1], blob)
        self.ask("POST", f"/v2/{other}/blobs/uploads/?mount={digest(b'none')}&from={self.repository}", status=202)

    def test_a_manifest_needs_what_it_refers_to_and_must_be_one(self):
        content = json.loads(self.manifest(b"needed"))
        content["layers"][0]["digest"] = digest(b"missing")
        self.assertEqual(self.push("v1", json.dumps(content).encode(), status=404)[1], "MANIFEST_BLOB_UNKNOWN")
        self.assertEqual(self.push("v1", b"{", status=400)[1], "MANIFEST_INVALID")
        self.assertEqual(self.push(digest(b"other"), self.manifest(b"needed"), status=400)[1], "DIGEST_INVALID")

    # Content discovery

    def test_tags_are_listed_in_order_and_in_pages(self):
        content = self.manifest(b"tagged")
        for tag in ("c", "a", "d", "b"):
            self.push(tag, content)
        self.assertEqual(json.loads(self.ask("GET", "tags/list")[1]), {"name": self.repository, "tags": ["a", "b", "c", "d"]})
        headers, body = self.ask("GET", "tags/list?n=2")
        self.assertEqual(json.loads(body)["tags"], ["a", "b"])
        self.assertRegex(headers["Link"], r'^<.*[?&]last=b.*>; rel="?next"?$')
        self.assertEqual(json.loads(self.ask("GET", "tags/list?n=2&last=b")[1])["tags"], ["c", "d"])
        self.assertEqual(json.loads(self.ask("GET", "tags/list?n=0")[1])["tags"], [])
        self.assertEqual(self.ask("GET", "/v2/no/such/tags/list", status=404)[1], "NAME_UNKNOWN")

    def test_the_registry_of_a_new_account_has_no_settings(self):
        self.assertEqual(self.ecr.get_registry_scanning_configuration()["scanningConfiguration"], {"scanType": "BASIC", "rules": []})
        found = self.ecr.batch_get_repository_scanning_configuration(repositoryNames=[self.repository, "no/such"])
        self.assertEqual([it["scanFrequency"] for it in found["scanningConfigurations"]], ["MANUAL"])
        self.assertEqual([it["failureCode"] for it in found["failures"]], ["REPOSITORY_NOT_FOUND"])
        self.assertEqual(self.ecr.get_account_setting(name="BASIC_SCAN_TYPE_VERSION")["value"], "AWS_NATIVE")
        self.assertEqual(self.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"], [])
        self.refused(
            "RegistryPolicyNotFoundException", "Registry policy does not exist in the registry with id '000000000000'", self.ecr.get_registry_policy,
        )

    def test_referrers_are_found_by_their_subject_and_type(self):
        subject = self.manifest(b"subject")
        of = {"mediaType": MANIFEST, "digest": digest(subject), "size": len(subject)}
        kinds = {"application/vnd.test.sbom": b"sbom", "application/vnd.test.signature": b"signature"}
        pushed = {}
        for kind, layer in kinds.items():
            content = self.manifest(layer, artifactType=kind, subject=of, annotations={"kind": layer.decode()})
            headers, _ = self.push(digest(content), content)
            self.assertEqual(headers["OCI-Subject"], digest(subject))
            pushed[kind] = digest(content)
        headers, body = self.ask("GET", f"referrers/{digest(subject)}")
        self.assertEqual(headers["Content-Type"], INDEX)
        found = {it["artifactType"]: it for it in json.loads(body)["manifests"]}
        self.assertEqual({kind: it["digest"] for kind, it in found.items()}, pushed)
        self.assertEqual(found["application/vnd.test.sbom"]["annotations"], {"kind": "sbom"})
        wanted = urllib.parse.quote("application/vnd.test.sbom", safe="")
        headers, body = self.ask("GET", f"referrers/{digest(subject)}?artifactType={wanted}")
        self.assertEqual(headers["OCI-Filters-Applied"], "artifactType")
        self.assertEqual([it["artifactType"] for it in json.loads(body)["manifests"]], ["application/vnd.test.sbom"])
        listed = self.ecr.list_image_referrers(
            repositoryName=self.repository, subjectId={"imageDigest": digest(subject)}, filter={"artifactTypes": ["application/vnd.test.sbom"]},
        )["referrers"]
        self.assertEqual([(it["digest"], it["annotations"], it["artifactStatus"]) for it in listed], [(pushed["application/vnd.test.sbom"], {"kind": "sbom"}, "ACTIVE")])
        _, body = self.ask("GET", f"referrers/{digest(b'none')}")
        self.assertEqual(json.loads(body), {"schemaVersion": 2, "mediaType": INDEX, "manifests": []})

    def test_an_index_is_pushed_after_its_images(self):
        parts = [self.manifest(layer) for layer in (b"amd64", b"arm64")]
        index = json.dumps({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{"mediaType": MANIFEST, "digest": digest(it), "size": len(it)} for it in parts],
        }).encode()
        self.push("multi", index, INDEX, status=404)
        for part in parts:
            self.push(digest(part), part)
        self.push("multi", index, INDEX)
        headers, body = self.ask("GET", "manifests/multi", Accept=INDEX)
        self.assertEqual((headers["Content-Type"], body), (INDEX, index))

    # Content management

    def test_tags_manifests_and_blobs_are_deleted(self):
        content = self.manifest(b"deleted")
        for tag in ("one", "two"):
            self.push(tag, content)
        self.ask("DELETE", "manifests/one", status=202)
        self.ask("GET", "manifests/one", status=404)
        self.ask("GET", "manifests/two")
        self.ask("DELETE", f"manifests/{digest(content)}", status=202)
        self.ask("GET", "manifests/two", status=404)
        self.ask("DELETE", f"blobs/{digest(b'deleted')}", status=202)
        self.ask("GET", f"blobs/{digest(b'deleted')}", status=404)
        self.ask("DELETE", f"manifests/{digest(content)}", status=404)


class Images(Place):
    """What the ECR API makes of it."""

    def test_immutable_tags_stay_but_for_the_exclusions(self):
        filters = [{"filterType": "WILDCARD", "filter": "dev-*"}]
        self.ecr.put_image_tag_mutability(
            repositoryName=self.repository, imageTagMutability="IMMUTABLE_WITH_EXCLUSION", imageTagMutabilityExclusionFilters=filters
        )
        first, second = self.manifest(b"first"), self.manifest(b"second")
        for tag in ("v1", "dev-1"):
            self.push(tag, first)
        self.assertEqual(self.push("v1", second, status=400)[1], "TAG_INVALID")
        self.push("dev-1", second)
        with self.assertRaises(self.ecr.exceptions.ImageTagAlreadyExistsException):
            self.ecr.put_image(repositoryName=self.repository, imageManifest=second.decode(), imageManifestMediaType=MANIFEST, imageTag="v1")

    def test_a_lifecycle_policy_is_tried_and_then_applied(self):
        for number in range(3):
            self.push(f"v{number}", self.manifest(f"layer {number}".encode()))
        rule = {
            "rulePriority": 1,
            "selection": {"tagStatus": "tagged", "tagPrefixList": ["v"], "countType": "imageCountMoreThan", "countNumber": 1},
            "action": {"type": "expire"},
        }
        policy = json.dumps({"rules": [rule]})
        self.ecr.start_lifecycle_policy_preview(repositoryName=self.repository, lifecyclePolicyText=policy)
        self.ecr.get_waiter("lifecycle_policy_preview_complete").wait(repositoryName=self.repository)
        preview = self.ecr.get_lifecycle_policy_preview(repositoryName=self.repository)
        self.assertEqual(preview["summary"], {"expiringImageTotalCount": 2})
        self.assertEqual(sorted(it["imageTags"][0] for it in preview["previewResults"]), ["v0", "v1"])
        self.ecr.put_lifecycle_policy(repositoryName=self.repository, lifecyclePolicyText=policy)
        self.connection.request("POST", "/_hoist/lifecycle", b"", {"x-hoist-control": "1"})
        with self.connection.getresponse() as answer:
            self.assertEqual(json.load(answer), {"expired": 2})
        self.assertEqual([it["imageTag"] for it in self.ecr.list_images(repositoryName=self.repository)["imageIds"]], ["v2"])
        with self.assertRaises(self.ecr.exceptions.InvalidParameterException):
            self.ecr.put_lifecycle_policy(repositoryName=self.repository, lifecyclePolicyText='{"rules": []}'.ljust(100))

    def test_a_scan_finds_what_the_file_says(self):
        path = os.path.join(os.environ["HOIST_HOME"], "local", "scan-findings.json")
        findings = [
            {"name": "CVE-2026-1", "severity": "LOW", "uri": "https://example.org/1"},
            {"name": "CVE-2026-2", "severity": "CRITICAL", "description": "bad", "attributes": [{"key": "package_name", "value": "x"}]},
        ]
        with open(path, "w") as file:
            json.dump({f"{self.repository}:v1": findings}, file)
        self.addCleanup(os.remove, path)
        self.push("v1", self.manifest(b"scanned"))
        self.push("v2", self.manifest(b"clean"))
        image = {"repositoryName": self.repository, "imageId": {"imageTag": "v1"}}
        with self.assertRaises(self.ecr.exceptions.ScanNotFoundException):
            self.ecr.describe_image_scan_findings(**image)
        self.ecr.start_image_scan(**image)
        self.ecr.get_waiter("image_scan_complete").wait(**image)
        found = self.ecr.describe_image_scan_findings(**image)["imageScanFindings"]
        self.assertEqual([it["name"] for it in found["findings"]], ["CVE-2026-2", "CVE-2026-1"])
        self.assertEqual(found["findingSeverityCounts"], {"CRITICAL": 1, "LOW": 1})
        self.ecr.put_image_scanning_configuration(repositoryName=self.repository, imageScanningConfiguration={"scanOnPush": True})
        described = self.ecr.describe_images(repositoryName=self.repository)["imageDetails"]
        counts = {it["imageTags"][0]: it["imageScanFindingsSummary"]["findingSeverityCounts"] for it in described}
        self.assertEqual(counts, {"v1": {"CRITICAL": 1, "LOW": 1}, "v2": {}})
