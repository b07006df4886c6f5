"""What comes back from mails: proving an address, setting a forgotten password, undoing a change of address."""

from fastapi import Depends

from app.api.deps import DB, no_store
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import InvalidToken
from app.schemas.auth import Accepted, AddressRequest, PasswordReset, VerifyRequest
from app.services import addresses, recovery, verification

router = StrictRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


@router.post("/verify-email", status_code=204, dependencies=[limit("general")], responses=raises(InvalidToken))
async def verify_email(given: VerifyRequest, db: DB) -> None:
    """Take the token of a mail that proves an address: after registering, or for a new address."""
    await verification.verify_email(db, given.token)


@router.post("/verify-email/resend", status_code=202, dependencies=[limit("resend")])
async def resend_verification(given: AddressRequest, db: DB) -> Accepted:
    """Ask for another verification mail. The answer is the same whether or not an account waits for one."""
    await verification.resend(db, given.email)
    return Accepted()


@router.post("/verify-email/undo", status_code=204, dependencies=[limit("general")], responses=raises(InvalidToken))
async def undo_email_change(given: VerifyRequest, db: DB) -> None:
    """Bring the old address back. Every session ends, the password works no more, and a link to set one is mailed."""
    await addresses.undo(db, given.token)


@router.post("/password/forgot", status_code=202, dependencies=[limit("forgot")])
async def forgot_password(given: AddressRequest, db: DB) -> Accepted:
    """Ask for a mail to set a new password. The answer is the same whether or not the address has an account."""
    await recovery.forgot(db, given.email)
    return Accepted()


@router.post("/password/reset", status_code=204, dependencies=[limit("general")], responses=raises(InvalidToken))
async def reset_password(given: PasswordReset, db: DB) -> None:
    """Set a new password by the token of a mail, which works once, for 30 minutes. Every session ends."""
    await recovery.reset(db, given)
