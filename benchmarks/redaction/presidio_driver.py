"""Presidio's own recognizers over lines of JSON; runs in Presidio's environment, and imports nothing of ours."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from presidio_analyzer import predefined_recognizers as predefined

REGIONS = ("CN", "US", "GB", "DE", "FR", "HK", "SG", "IN", "CA")  # Chinese telephone numbers are off by default
LEAST_SCORE = 0.3  # below are patterns that Presidio itself only trusts beside a word of context
NAMES = {
    "EMAIL_ADDRESS": "EMAIL_ADDRESS",
    "CREDIT_CARD": "BANK_CARD",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP_ADDRESS",
    "MAC_ADDRESS": "MAC_ADDRESS",
    "PHONE_NUMBER": "PHONE_NUMBER",
    "US_SSN": "US_SSN",
    "US_PASSPORT": "PASSPORT_NUMBER",
    "CRYPTO": "CRYPTO_WALLET",
}


def recognizers() -> list[Any]:
    found = [
        predefined.EmailRecognizer(),
        predefined.CreditCardRecognizer(),
        predefined.IbanRecognizer(),
        predefined.IpRecognizer(),
        predefined.PhoneRecognizer(supported_regions=REGIONS),
        predefined.UsSsnRecognizer(),
        predefined.UsPassportRecognizer(),
        predefined.CryptoRecognizer(),
    ]
    mac = getattr(predefined, "MacAddressRecognizer", None)
    return [*found, mac()] if mac else found


def main() -> None:
    logging.disable(logging.CRITICAL)
    known = recognizers()
    spent = 0.0
    for line in sys.stdin:
        text = json.loads(line)["text"]
        began = time.process_time()
        hits = [hit for one in known for hit in one.analyze(text, one.supported_entities, None) or ()]
        spent += time.process_time() - began
        places = [(NAMES.get(h.entity_type, h.entity_type), h.start, h.end) for h in hits if h.score >= LEAST_SCORE]
        print(json.dumps(places))
    print(f"{spent:.6f}", file=sys.stderr)


if __name__ == "__main__":
    main()
