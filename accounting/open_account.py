"""Opens accounts and changes their state. Invariant: accounts hang on leaf subjects only, are opened explicitly and
never as a side effect, and what is fixed at opening never changes."""

from __future__ import annotations

from accounting import mapping
from accounting.books import Books
from accounting.domain.accounts import (
    ACCOUNT_TRANSITIONS,
    AccountPosition,
    AccountState,
    FloorKind,
    Subject,
    SubjectCategory,
    account_id_of,
)
from accounting.finding import find_account
from accounting.store import accounts
from accounting.store.accounts import Account, shard_of_account_owner
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay
from runtime.money import currency_exponent


async def open_account(
    books: Books,
    *,
    request_id: str,
    fingerprint: bytes,
    subject_code: str,
    owner_id: str,
    currency_code: str,
    floor: FloorKind | None,
    overdraft_minor_units: int,
) -> Account | Replay:
    """Opens the account of an owner under a leaf subject in one currency; opening it again is harmless.

    Raises:
        PaycenterError: CURRENCY_UNSUPPORTED, SUBJECT_NOT_FOUND, SUBJECT_NOT_LEAF, ACCOUNT_EXISTS when it is open with
            other properties, TENANT_FORBIDDEN when another tenant owns it, IDEMPOTENCY_KEY_REUSED.
    """
    _check_currency(currency_code)
    scope = current_scope()
    shard = shard_of_account_owner(owner_id)
    account_id = account_id_of(subject_code, owner_id, currency_code)
    async with books.database.begin() as connection:
        claim = await books.idempotency.claim(
            connection,
            shard=shard,
            method="OpenAccount",
            request_id=request_id,
            fingerprint=fingerprint,
            resource_id=account_id,
        )
        if isinstance(claim, Replay):
            return claim
        subject = await accounts.get_subject(connection, subject_code)
        _check_leaf(subject, subject_code)
        assert subject is not None
        default_floor = FloorKind.ZERO if subject.category is SubjectCategory.LIABILITY else FloorKind.NONE
        position = AccountPosition(
            shard=shard,
            account_id=account_id,
            tenant_id=scope.platform.tenant_id,
            currency_code=currency_code,
            normal_side=subject.normal_side,
            state=AccountState.ACTIVE,
            floor=floor or default_floor,
            overdraft_minor_units=overdraft_minor_units,
            shadow=scope.platform.shadow,
            debit_minor_units=0,
            credit_minor_units=0,
            held_minor_units=0,
            entry_sequence=0,
            version=1,
        )
        opened = await accounts.insert_account(
            connection,
            position,
            subject_code=subject_code,
            owner_id=owner_id,
            business_id=scope.platform.business_id or account_id,
            traceparent=scope.trace.format(),
        )
        account = await accounts.get_account(connection, account_id)
        assert account is not None, "the account was opened above or before"
        _check_same(account, position)
        if opened:
            await books.outbox.append(connection, mapping.account_changed(account))
        await books.idempotency.complete(
            connection,
            shard=shard,
            method="OpenAccount",
            request_id=request_id,
            response=mapping.open_account_response(account),
        )
    return account


async def change_account_state(
    books: Books, *, request_id: str, fingerprint: bytes, account_id: str, state: AccountState, reason: str
) -> Account | Replay:
    """Freezes, blocks one side of, unfreezes or closes an account, with an audit row; idempotent by request.

    Raises:
        PaycenterError: ACCOUNT_NOT_FOUND, TENANT_FORBIDDEN, ACCOUNT_STATE_INVALID (a closed account, the same state, or
            closing with a balance or a hold), IDEMPOTENCY_KEY_REUSED.
    """
    scope = current_scope()
    shard = accounts.shard_of_account(account_id)
    async with books.database.begin() as connection:
        claim = await books.idempotency.claim(
            connection,
            shard=shard,
            method="ChangeAccountState",
            request_id=request_id,
            fingerprint=fingerprint,
            resource_id=account_id,
        )
        if isinstance(claim, Replay):
            return claim
        await accounts.lock_positions(connection, [account_id])
        account = await find_account(connection, account_id)
        _check_transition(account.position, state)
        changed = await accounts.change_state(
            connection,
            account.position,
            state,
            reason=reason,
            caller=scope.platform.caller_service,
            operator=scope.platform.operator,
            traceparent=scope.trace.format(),
        )
        assert changed, "the balance is locked"
        account = await find_account(connection, account_id)
        await books.outbox.append(connection, mapping.account_changed(account))
        await books.idempotency.complete(
            connection,
            shard=shard,
            method="ChangeAccountState",
            request_id=request_id,
            response=mapping.change_account_state_response(account),
        )
    return account


async def create_subject(books: Books, subject: Subject) -> Subject:
    """Adds a subject below a heading, or below a leaf on which no account hangs; adding it again is harmless.

    Raises:
        PaycenterError: SUBJECT_NOT_FOUND when the parent is unknown, FIELD_INVALID when the code does not begin with
            the parent's, the category differs, or the code is taken by another subject; SUBJECT_NOT_LEAF when accounts
            hang on the parent.
    """
    async with books.database.begin() as connection:
        parent = await accounts.get_subject(connection, subject.parent_subject_code)
        if parent is None:
            raise PaycenterError(
                Reason.SUBJECT_NOT_FOUND, "the parent is unknown", field="subject.parent_subject_code"
            )
        if not subject.subject_code.startswith(parent.subject_code) or subject.category != parent.category:
            raise PaycenterError(
                Reason.FIELD_INVALID,
                "the code begins with the parent's and the category is the parent's",
                field="subject.subject_code",
            )
        if parent.leaf and not await accounts.make_heading(connection, parent.subject_code):
            raise PaycenterError(
                Reason.SUBJECT_NOT_LEAF,
                "accounts hang on the parent",
                field="subject.parent_subject_code",
            )
        await accounts.insert_subject(connection, subject)
        stored = await accounts.get_subject(connection, subject.subject_code)
    assert stored is not None
    if (stored.parent_subject_code, stored.category, stored.normal_side, stored.display_name) != (
        subject.parent_subject_code,
        subject.category,
        subject.normal_side,
        subject.display_name,
    ):
        raise PaycenterError(Reason.FIELD_INVALID, "the code is taken", field="subject.subject_code")
    return stored


def _check_currency(currency_code: str) -> None:
    try:
        currency_exponent(currency_code)
    except ValueError:
        raise PaycenterError(
            Reason.CURRENCY_UNSUPPORTED, f"{currency_code} is not in ISO 4217", field="currency_code"
        ) from None


def _check_leaf(subject: Subject | None, subject_code: str) -> None:
    if subject is None:
        raise PaycenterError(
            Reason.SUBJECT_NOT_FOUND,
            "no subject has this code",
            field="subject_code",
            resource=("subject", subject_code),
        )
    if not subject.leaf:
        raise PaycenterError(
            Reason.SUBJECT_NOT_LEAF, "accounts hang on leaf subjects only", field="subject_code"
        )


def _check_same(account: Account, wanted: AccountPosition) -> None:
    if account.position.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "the account belongs to another tenant")
    present = account.position
    if (present.floor, present.overdraft_minor_units, present.shadow) != (
        wanted.floor,
        wanted.overdraft_minor_units,
        wanted.shadow,
    ):
        raise PaycenterError(
            Reason.ACCOUNT_EXISTS,
            "the account is open with another floor or book",
            field="floor",
            metadata={"accountId": present.account_id},
            resource=("account", present.account_id),
        )


def _check_transition(position: AccountPosition, state: AccountState) -> None:
    not_empty = position.balance_minor_units != 0 or position.held_minor_units != 0
    if (position.state, state) not in ACCOUNT_TRANSITIONS or (state is AccountState.CLOSED and not_empty):
        raise PaycenterError(
            Reason.ACCOUNT_STATE_INVALID,
            f"the account is {position.state.value} and cannot become {state.value}",
            field="state",
            metadata={"current": position.state.value, "wanted": state.value},
        )
