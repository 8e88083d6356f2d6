"""The table: every recognizer of structured data, the surer one first where two find the same characters."""

from services.guard.redaction.account import Account, SocialSecurity
from services.guard.redaction.banking import BANKING
from services.guard.redaction.birth import BIRTH_DATES
from services.guard.redaction.card import BankCard
from services.guard.redaction.company import COMPANY
from services.guard.redaction.email import EMAILS
from services.guard.redaction.hidden import HIDDEN
from services.guard.redaction.mobile import Landline, Mobile
from services.guard.redaction.network import NETWORK
from services.guard.redaction.number import NumberShape
from services.guard.redaction.numbers import Numbers
from services.guard.redaction.phone import Phone
from services.guard.redaction.plate import PLATE
from services.guard.redaction.resident import ResidentId, ResidentIdWithX
from services.guard.redaction.secret import SECRETS
from services.guard.redaction.stretch import Recognizer
from services.guard.redaction.table import Table
from services.guard.redaction.travel import TRAVEL
from services.guard.redaction.wallet import WALLETS

NUMBERS: tuple[NumberShape, ...] = (
    ResidentId(),
    ResidentIdWithX(),
    BankCard(),
    Mobile(),
    SocialSecurity(),
    Landline(),
    Phone(),
    Account(),
)
RECOGNIZERS: tuple[Recognizer, ...] = (
    HIDDEN,
    *EMAILS,
    *SECRETS[:4],
    *WALLETS,
    *BANKING,
    COMPANY,
    *NETWORK,
    *TRAVEL,
    PLATE,
    *BIRTH_DATES,
    Numbers(NUMBERS),
    *SECRETS[4:],
)
TABLE = Table(RECOGNIZERS)
