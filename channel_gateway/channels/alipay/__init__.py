"""Alipay: RSA2 over form parameters, JSON answers signed as bytes. Source: Alipay open platform documents."""
