"""Alipay's side: the gateway, its operations, its signatures and its notices."""
