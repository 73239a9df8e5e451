"""Judges signed URLs as the vendors' servers do, from their documentation alone."""

import base64
import hashlib
import hmac
import time
from calendar import timegm
from urllib.parse import parse_qsl, quote, unquote, urlsplit

__all__ = ["oss_v1", "sigv4"]


def sigv4(method: str, url: str, *, key: str, region: str, now: float | None = None) -> str:
    """ "" when Amazon S3 would take it, else why not.

    Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = query.pop("X-Amz-Signature", "")
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        return "algorithm"
    stamp = query.get("X-Amz-Date", "")
    _, *scope = query.get("X-Amz-Credential", "").split("/")
    if scope != [stamp[:8], region, "s3", "aws4_request"]:
        return "scope"
    if query.get("X-Amz-SignedHeaders") != "host":
        return "headers"
    begun = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    now = time.time() if now is None else now
    if not begun - 900 <= now <= begun + int(query["X-Amz-Expires"]):
        return "expired"
    canonical = "\n".join(
        [
            method,
            quote(unquote(parts.path), safe="/-_.~"),
            "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items())),
            f"host:{parts.netloc}\n",
            "host",
            "UNSIGNED-PAYLOAD",
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signed = "\n".join(["AWS4-HMAC-SHA256", stamp, "/".join(scope), digest])
    secret = f"AWS4{key}".encode()
    for each in scope:
        secret = hmac.digest(secret, each.encode(), "sha256")
    right = hmac.new(secret, signed.encode(), "sha256").hexdigest()
    return "" if hmac.compare_digest(given, right) else "signature"


def oss_v1(method: str, url: str, *, key: str, bucket: str, now: float | None = None) -> str:
    """ "" when Alibaba's OSS would take it, else why not.

    OSS documentation, "Include a V1 signature in a URL" and "Include a signature in the Authorization header".
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if (time.time() if now is None else now) > int(query["Expires"]):
        return "expired"
    resource = f"/{bucket}{unquote(parts.path)}"
    if "security-token" in query:
        resource += f"?security-token={query['security-token']}"
    signed = "\n".join([method, "", "", query["Expires"], resource])
    right = base64.b64encode(hmac.digest(key.encode(), signed.encode(), "sha1")).decode()
    return "" if hmac.compare_digest(query["Signature"], right) else "signature"
