"""Made the keys beside it, with Python's scrypt and libsodium's secret box (PyNaCl), in the form of `cosign generate-key-pair`.

cosign.key has the password "open sesame"; old.key the older name and costs of scrypt, and the empty password. cosign.pub is for both.
"""

import base64
import hashlib
import json
import os
import subprocess

from nacl.secret import SecretBox


def text(content):
    return base64.b64encode(content).decode()


subprocess.run(
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out plain.pem"
    " && openssl pkcs8 -topk8 -nocrypt -in plain.pem -outform DER -out plain.der"
    " && openssl pkey -in plain.pem -pubout -out cosign.pub && rm plain.pem",
    shell=True,
    check=True,
)
with open("plain.der", "rb") as file:
    plain = file.read()
os.remove("plain.der")
for name, kind, n, password in (
    ("cosign.key", "SIGSTORE", 32768, b"open sesame"),
    ("old.key", "COSIGN", 65536, b""),
):
    salt, nonce = os.urandom(32), os.urandom(24)
    key = hashlib.scrypt(password, salt=salt, n=n, r=8, p=1, maxmem=1 << 28, dklen=32)
    document = {
        "kdf": {"name": "scrypt", "params": {"N": n, "r": 8, "p": 1}, "salt": text(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": text(nonce)},
        "ciphertext": text(SecretBox(key).encrypt(plain, nonce).ciphertext),
    }
    body = text(json.dumps(document, separators=(",", ":")).encode())
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    with open(name, "w") as file:
        block = f"ENCRYPTED {kind} PRIVATE KEY"
        file.write(f"-----BEGIN {block}-----\n{lines}\n-----END {block}-----\n")
