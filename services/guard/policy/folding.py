"""Text as the topic lists see it: one folded character for each original one, so that offsets never move."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from services.guard.redaction.characters import ideographic, invisible
from services.guard.redaction.folds import Folds

if TYPE_CHECKING:
    from mypy_extensions import i64

GAP: Final = " "  # punctuation, spaces, symbols: whatever can be put between the letters of a word
NOTHING: Final = "\0"  # what cannot be seen
STOP: Final = "。"  # ends a sentence: no word goes across
LONGEST_GAP: Final = 8  # characters between two letters of a word; more end the word

# Digits and signs written for letters, and letters of other scripts that look Latin. `l` and `1` both read as `i`.
_LOOKALIKES = (
    "0o 1i 3e 4a 5s 7t 8b 9g @a $s li ıi "
    "аa вb еe кk мm нh оo рp сc тt уy хx ѕs іi јj ԁd ԛq ԝw αa βb εe ιi κk οo ρp τt υu"
)  # fmt: skip
# Traditional forms of characters that the lists use.
_SIMPLIFIED = (
    "製制 殺杀 彈弹 藥药 槍枪 視视 頻频 網网 絡络 駭骇 竊窃 賬账 號号 碼码 電电 腦脑 軟软 體体 騙骗 詐诈 "
    "釣钓 魚鱼 贖赎 遠远 馬马 後后 門门 繞绕 過过 監监 測测 識识 別别 襲袭 擊击 綁绑 強强 姦奸 圖图 買买 "
    "賣卖 應应 該该 戰战 爭争 屍尸 傷伤 災灾 難难 陰阴 謀谋 論论 隱隐 瞞瞒 內内 傳传 聞闻 謠谣 據据 說说 "
    "確确 認认 證证 實实 導导 維维 權权 倉仓 庫库 構构 裝装 備备 簡简 單单 數数 資资 訊讯 盜盗 產产 寫写 "
    "編编 個个 員员 機机 關关 為为 與与 會会 對对 開开 發发 現现 驗验 無无 頭头 顱颅 處处 決决 鬥斗 毆殴 "
    "滅灭 絕绝 種种 離离 經经 濟济 錢钱 銀银 國国 區区 從从 裡里 點点 將将 這这 給给 讓让 嗎吗 麼么 們们 "
    "請请 寶宝 幫帮 訴诉 詳详 細细 進进 線线 條条 選选 舉举 暫暂 劑剂 氣气 壓压 鹼碱 腳脚 傑杰 歷历 醫医 "
    "術术 蟲虫 濫滥 釋释 癱瘫 瘓痪 載载 滲渗 蓋盖 屬属 瀉泻 臟脏 腸肠 掛挂 "
)
_READ_AS = {pair[0]: pair[1] for pair in f"{_LOOKALIKES} {_SIMPLIFIED}".split()}


def _fold_one(character: str) -> str:
    if character in "。｡！？!?；;…":
        return STOP
    if character in "\n\r\t\v\f\x85":
        return GAP
    if invisible(character):
        return NOTHING
    folded = unicodedata.normalize("NFKD", character).casefold()
    plain = next((c for c in folded if c.isalnum() or c in "@$"), "")
    if not plain:
        return STOP if folded[:1] in ("!", "?", ";") else GAP
    return _READ_AS.get(plain, plain)


_FOLDS: Final = Folds(_fold_one)


def fold(text: str) -> str:
    """`len(fold(text)) == len(text)`."""
    return _FOLDS.fold(text)


class _Spaced(dict[str, bool]):
    """Filled as characters are met; at most one item for each Unicode character."""

    def __missing__(self, character: str) -> bool:
        spaced = self[character] = character.isalnum() and (character.isascii() or not ideographic(character))
        return spaced


_SPACED: Final = _Spaced()


def spaced_script(character: str) -> bool:
    """A folded character of a script that puts spaces between words, so that words have edges."""
    return _SPACED[character]


# All gaps but the usual one: a single GAP between two ASCII letters or digits.
# Each branch begins with one of the two signs, so that nothing else is tried at any other character.
GAPS = re.compile(f"[{GAP}{NOTHING}]{{2,}}|{NOTHING}|{GAP}(?<![0-9a-z]{GAP})|{GAP}(?![0-9a-z])")


_GAP_POINT: Final = 0x20
_NOTHING_POINT: Final = 0


def next_gap(folded: str, start: i64) -> tuple[i64, i64]:
    """Where the next one begins and ends that GAPS would find, from `start` on; both are the end where none does."""
    place, size = start, len(folded)
    while place < size:
        point: i64 = ord(folded[place])
        if point != _GAP_POINT and point != _NOTHING_POINT:
            place += 1
            continue
        end = place + 1
        while end < size and (ord(folded[end]) == _GAP_POINT or ord(folded[end]) == _NOTHING_POINT):
            end += 1
        usual = end == place + 1 < size and place > 0 and point == _GAP_POINT
        if not (usual and _joined(folded, place - 1) and _joined(folded, place + 1)):
            return place, end
        place = end
    return size, size


def _joined(folded: str, place: i64) -> bool:
    """By a GAP to another such one: an ASCII letter or digit."""
    point: i64 = ord(folded[place])
    return 97 <= point <= 122 or 48 <= point <= 57


def squeeze(text: str) -> str:
    """A whole text, folded and squeezed: one GAP stays between words of spaced scripts, nothing beside an ideograph."""
    return GAPS.sub(_squeezed_gap, fold(text))


def _squeezed_gap(gap: re.Match[str]) -> str:
    folded, (start, end) = gap.string, gap.span()
    if end - start > LONGEST_GAP:  # a STOP for every so many, so that waiting for letters is bounded in characters too
        return STOP * ((end - start) // (LONGEST_GAP + 1))
    shows = start > 0 and end < len(folded) and GAP in gap.group()
    return GAP if shows and _SPACED[folded[start - 1]] and _SPACED[folded[end]] else ""


def fold_word(word: str) -> str:
    """A list's word in the form in which a folded text has it."""
    folded = fold(word).replace(NOTHING, "").replace(STOP, GAP)
    kept = ""
    for character in folded.strip(GAP):
        if character == GAP and (kept.endswith(GAP) or ideographic(kept[-1:] or "x")):
            continue
        if ideographic(character) and kept.endswith(GAP):
            kept = kept[:-1]
        kept += character
    return kept
