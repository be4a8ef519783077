"""The other side: a server that plays Alipay and WeChat Pay v3 with real signatures, refusals and notices.

Invariant: nothing here imports the gateway, core, accounting or runtime, so that no bug is shared.
"""
