"""For the tests of those who write ICE providers: the contract as a check, and a vendor that misbehaves.

The whole contract is one line in a test of any framework::

    def test_contract():
        check_provider(Acme, {"key": "s3cret"})

and for a provider that asks a vendor, whose good answer the test knows::

    def test_contract():
        check_provider(Acme, lambda url: {"key": "s3cret", "api_base": url}, vendor=Answer(json=GOOD))

`check_provider` then lets the vendor fail in every way that vendors do. `FakeVendor` is that vendor alone.
"""

from liveman.ice.testing.check import ContractBroken, check_provider
from liveman.ice.testing.vendor import Answer, Asked, FakeVendor, Script

__all__ = ["Answer", "Asked", "ContractBroken", "FakeVendor", "Script", "check_provider"]
