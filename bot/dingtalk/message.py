"""Reads what people send: a message from DingTalk, whatever its kind."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, NamedTuple

from bot.values import BLANKS, INVISIBLE, digest, encodable, json_in, read_json, text_in

PICTURE, VIDEO, FILE = "图片", "视频", "文件"
# What a kind of message, or of a piece of one, is: by words in the name that DingTalk gives it; the first that fits.
NOUNS = (
    (r"chat_?record|forward|merge", "聊天记录"),
    (r"(business|name|contact|profile|user|person)_?card|contact|profile", "名片"),
    (r"^pic|picture|image|^img|photo", PICTURE),
    (r"video", VIDEO),
    (r"audio|voice", "语音"),
    (r"location|^position|^geo|^lbs", "位置"),
    (r"emotion|emoji|sticker|^face|expression", "表情"),
    (r"doc|sheet|dentry|wiki", "文档"),
    (r"file", FILE),
    (r"card", "卡片"),
    (r"link|^url", "链接"),
)
LABELLED = (FILE, "文档", "位置", "名片")  # are told by their name: [文件 report.pdf]
LOOKED_AT = (PICTURE, VIDEO)  # are there beside the words that come with them
MENTION = "@"  # the noun of a name that is @-ed; its words are words
UNQUOTED = "[引用的消息没有文字]"  # what a quotation is that came without its words
WORD_FIELDS = re.compile(  # fields that hold words, whatever they look like
    r"(text|content|title|markdown|summary|recognition|value|desc\w*|message|msg|caption|subject|body|question|answer|"
    r"remark|abstract|digest|label|header|footer)$",
    re.IGNORECASE,
)
VERBATIM = ("text", "content", "title", "markdown", "value", "recognition")  # of these, JSON is words as well
WORDLESS_FIELDS = re.compile(  # fields without words: ids, addresses, people, formats, other messages
    r"(ids?|url|uri|code|type|time|at|users?|token|status|nick\w*|sender\w*|avatar|icon|file_?name|version|schema|"
    r"config\w*|style|format|size|color|font\w*|lang\w*|locale|hash|md5|sign\w*|script|\w+key)$|(replied|quote)\w*$",
    re.IGNORECASE,
)
NAMING_FIELDS = re.compile(r"(name|title|address|nick|label|desc\w*)$", re.IGNORECASE)
RECORDS = ("chatrecord", "chatrecords", "records", "messages")  # fields with the messages of a forwarded conversation
BODY = (  # one of these fields is in the body of every message: JSON without them is what somebody wrote
    *("text", "content", "title", "markdown", "summary", "recognition", "richText", "chatRecord", "records", "msgType"),
    *("cardContent", "cardData", "cardParamMap", "elementType", "children", "fileName", "downloadCode", "msgtype"),
    "pictureDownloadCode",
)
MAX_BODY_DEPTH, MAX_FIELDS = 24, 200  # of what is searched for words; the trees of cards are 12 deep


class Piece(NamedTuple):
    """A piece of a message, as the model is to see it."""

    words: str  # or the mark of what cannot be read
    noun: str = ""  # of NOUNS, for a mark; MENTION for the name of a person
    download_code: str = ""  # for which DingTalk hands out the picture or the file


class Message(NamedTuple):
    """What counts of a message from DingTalk."""

    id: str
    conversation_id: str
    in_group: bool
    staff_id: str  # empty for people outside the organisation
    corp_id: str  # the organisation of the person
    person: str  # staff id, else sender id
    nick: str
    text: str  # the words, without surrounding blanks, and marks of what cannot be read: [图片]
    quotation: str  # the same of a message that it answers to
    unreadable: str  # what it is if there are no words at all, a key of UNREADABLE; else ''
    attachments: list[Piece]  # pictures, its own and quoted ones, and files
    robot_code: str
    over_quota: bool  # DingTalk's notice that it delivers no more messages this month
    webhook: str
    webhook_expires_ms: int | None
    asked_ms: int  # when the person sent it, by DingTalk's clock; 0: it does not say


def parse_message(event: bytes) -> Message | None:
    """The message in an event, None if it is none; unknown fields are ignored, wrong types count as missing."""
    raw = read_json(event)
    if not isinstance(raw, dict):
        return None
    own, quoted = own_pieces(raw), quotation_in(raw)
    both = own + quoted
    expires_ms = raw.get("sessionWebhookExpiredTime")
    created = str(raw.get("createAt"))  # documented as a text, seen as a number
    staff_id = text_in(raw, "senderStaffId") or ""
    message = Message(
        id=text_in(raw, "msgId") or "",
        conversation_id=text_in(raw, "conversationId") or "",
        in_group=text_in(raw, "conversationType") == "2",
        staff_id=staff_id,
        corp_id=text_in(raw, "senderCorpId") or "",
        person=staff_id or text_in(raw, "senderId") or "",
        nick=" ".join((text_in(raw, "senderNick") or "").split())[:40],
        text=words_of(own),
        quotation=words_of(quoted),
        unreadable=unreadable_in(both),
        attachments=[piece for piece in both if piece.download_code and piece.noun in (PICTURE, FILE)],
        robot_code=text_in(raw, "robotCode") or "",
        over_quota=not (raw.get("text") or raw.get("content")) and "errorCode" in raw,
        webhook=text_in(raw, "sessionWebhook") or "",
        webhook_expires_ms=expires_ms if isinstance(expires_ms, int) else None,
        asked_ms=int(created) if re.fullmatch("[0-9]{1,15}", created) else 0,
    )
    return message if message.id and message.conversation_id else None


def own_pieces(raw: dict[str, Any]) -> list[Piece]:
    """What the person sent, without the bot's own name; a mark if it holds no words and is no text."""
    kind = text_in(raw, "msgtype") or "text"
    if kind == "text":
        bodies: list[Any] = [{"text": raw[name]} for name in ("text", "content") if raw.get(name)]
    else:
        bodies = [{name: raw[name]} for name in ("content", kind, "text") if name in raw]
    found = [pieces_in_object({"msgtype": kind, **body}, "", 0) for body in bodies or [{}]]
    pieces = next((pieces for pieces in found if pieces and not unreadable_in(pieces)), found[0])
    pieces = without_own_name(pieces, raw)
    return pieces if words_of(pieces) or kind in ("text", "richText") else [Piece("[消息]", "消息")]


def without_own_name(pieces: list[Piece], raw: dict[str, Any]) -> list[Piece]:
    """The pieces without the robot's visible name, which some clients leave in front; no message tells that name.

    '@小助手 /clear', '@小助手/clear' -> '/clear'. Only where the robot was @-ed, and as many names are to be seen as
    people were @-ed: if there are fewer, its own is gone already. A name ends at a blank, unless a command follows.
    """
    users = raw["atUsers"] if isinstance(raw.get("atUsers"), list) else []
    people = [user.get("dingtalkId") for user in users if isinstance(user, dict)]
    own = raw.get("chatbotUserId")
    seen = sum(each.noun == MENTION or len(re.findall(r"(?<![\w.-])@[^\s@]", each.words, re.ASCII)) for each in pieces)
    if not (raw.get("isInAtList") is True or (own and own in people)) or seen < len(people):
        return pieces
    if not pieces or (pieces[0].noun == MENTION and len(people) > 1):
        return pieces
    words, rest = pieces[0].words.lstrip(BLANKS), pieces[1:]
    if pieces[0].noun == MENTION or (words.startswith("@") and command_in(words_of(rest))):
        return rest
    return [pieces[0]._replace(words=re.sub(r"\A@[^\s@\\/＼／、，,：:]+", "", words)), *rest]


def quotation_in(raw: dict[str, Any]) -> list[Piece]:
    """What the message answers to; it stands in `text` or in `content`, or beside them, or only its id does."""
    bodies = [json_in(raw.get(name)) for name in ("content", "text")]
    places = [place for place in (*bodies, raw) if isinstance(place, dict)]
    names = ("repliedMsg", "quoteMessage", "quotedMsg", "quotedMessage")
    quoted = next((place[name] for place in places for name in names if place.get(name)), None)
    pieces = pieces_in(quoted, "quoted", "", 0) if isinstance(quoted, (dict, list, str)) else []
    told = any(place.get("isReplyMsg") in (True, "true") or place.get("originalMsgId") for place in places)
    if words_of(pieces) or not (told or isinstance(quoted, dict)):
        return pieces
    return [Piece(UNQUOTED, "引用")]


def words_of(pieces: list[Piece]) -> str:
    """The pieces as one text, without surrounding blanks."""
    return encodable("".join(piece.words for piece in pieces)).strip(BLANKS)


def unreadable_in(pieces: list[Piece]) -> str:
    """What came, if it has no words: the noun of the first mark; '' if there are words, or nothing at all."""
    if any(piece.words.strip(BLANKS) and piece.noun in ("", MENTION) for piece in pieces):
        return ""
    return next((piece.noun for piece in pieces if piece.noun), "")


def pieces_in(value: Any, name: str, owner: str, depth: int) -> list[Piece]:
    """What there is to read in any value, in the order in which it stands; `name` and `owner`: fields that it is in.

    {"content": "a"}, {"recognition": "a"}, {"richText": [{"text": "a"}]}, and all of them as JSON in a text -> "a".
    """
    if depth > MAX_BODY_DEPTH:
        return []
    if isinstance(value, str):
        return pieces_in_text(encodable(value), name, owner, depth)
    if isinstance(value, list):
        items = [pieces_in(item, name, owner, depth + 1) for item in value[:MAX_FIELDS]]
        return joined(items, "" if name == "richText" else "\n")
    return pieces_in_object(value, name, depth) if isinstance(value, dict) else []


def pieces_in_text(text: str, name: str, owner: str, depth: int) -> list[Piece]:
    """The words that a text is, or those in it if it is the JSON of something else."""
    a_body = name == "quoted" or (name == "content" and owner in ("", "quoted", *RECORDS))
    body = json_in(text) if a_body or name not in VERBATIM else None
    if body is not None and (not a_body or is_body(body)):
        found = pieces_in(body, name, owner, depth + 1)
        # Only now it shows: a body with nothing to read, and no picture, is what somebody wrote, such as {"title": 5}.
        if found or not a_body or (isinstance(body, dict) and download_code_in(body)):
            return found
    return [Piece(text)] if a_body or is_words(text, name) else []


def pieces_in_object(fields: dict[str, Any], name: str, depth: int) -> list[Piece]:
    """The words of a message, of a piece of rich text or of a card; or the mark that names it."""
    kind = next((fields[key] for key in ("msgType", "msgtype", "type", "elementType") if text_in(fields, key)), "")
    known = (noun for pattern, noun in NOUNS if re.search(pattern, kind, re.IGNORECASE))
    noun = next(known, FILE if text_in(fields, "fileName") else "")
    if text_in(fields, "atName") or kind == "at":
        who = next(filter(None, (text_in(fields, key) for key in ("atName", "text", "content", "name"))), "")
        return [Piece(f"@{who.lstrip('@')} ", MENTION)] if who else []
    found = pieces_in_fields(fields, name, depth)
    if not noun or any(piece.noun == noun for piece in found):
        return found
    if noun in LABELLED:
        label = " ".join(" ".join(names_in(fields, 0)).split())[:100]
        return [Piece(f"[{noun} {label}]" if label else f"[{noun}]", noun, download_code_in(fields))]
    return [Piece(f"[{noun}]", noun, download_code_in(fields)), *found] if noun in LOOKED_AT or not found else found


def pieces_in_fields(fields: dict[str, Any], owner: str, depth: int) -> list[Piece]:
    """What there is to read in an object, titles first, and nothing twice: a title often begins the text as well."""
    found: list[list[Piece]] = []
    for name in sorted(list(fields)[:MAX_FIELDS], key=lambda name: (name != "title", name.lower() in RECORDS)):
        if WORDLESS_FIELDS.search(name[-60:]):
            continue
        if name.lower() in RECORDS:
            pieces = pieces_in_records(fields[name], "\n".join(map(words_of, found)), depth + 1)
        else:
            pieces = pieces_in(fields[name], name, owner if isinstance(fields[name], str) else name, depth + 1)
        if pieces and pieces not in found:
            found.append(pieces)
    if "title" in fields and len(found) > 1 and any(words_of(found[0]) in words_of(pieces) for pieces in found[1:]):
        del found[0]
    return joined(found, "\n")


def pieces_in_records(value: Any, summary: str, depth: int) -> list[Piece]:
    """The messages of a forwarded conversation, a line for each, but for those that its summary has."""
    entries = json_in(value)
    lines = []
    for entry in entries[:MAX_FIELDS] if isinstance(entries, list) else []:
        pieces = pieces_in(entry, RECORDS[0], "", depth)
        if pieces and words_of(pieces) not in summary:
            lines.append([Piece(f"{sender}：") for sender in senders_in(entry)] + pieces)
    return joined(lines, "\n")


def senders_in(entry: Any) -> list[str]:
    """The name of who sent this message of a forwarded conversation, if it is told; an id is none."""
    names = ("senderNick", "senderName", "nickName", "nick")
    return [name for name in (text_in(entry, name) for name in names if isinstance(entry, dict)) if name][:1]


def joined(found: list[list[Piece]], separator: str) -> list[Piece]:
    """All pieces in one list, with the separator between those that stood apart."""
    pieces: list[Piece] = []
    for more in filter(None, found):
        pieces += [Piece(separator), *more] if pieces and separator else more
    return pieces


def names_in(value: Any, depth: int) -> list[str]:
    """The first two names, titles or addresses in the fields of a file, a place or a person."""
    body = json_in(value)
    if not isinstance(body, dict) or depth > 4:
        return []
    fields = list(body)[:MAX_FIELDS]
    naming = [name for name in fields if NAMING_FIELDS.search(name[-60:]) and not name.startswith("sender")]
    names = [text_in(body, name) or "" for name in naming]
    for name in fields:
        names += names_in(body[name], depth + 1)
    return list(dict.fromkeys(name for name in names if name.strip()))[:2]


def download_code_in(fields: dict[str, Any]) -> str:
    """The code for which DingTalk hands out a picture or a file, '' if there is none; in a field or one level below."""
    inner = map(json_in, list(fields.values())[:MAX_FIELDS])
    places = [fields, *(value for value in inner if isinstance(value, dict))]
    codes = (text_in(place, name) for name in ("downloadCode", "pictureDownloadCode") for place in places)
    return next(filter(None, codes), "")


def is_words(text: str, name: str) -> bool:
    """Whether a field holds words for people, and not an address, an id, a number."""
    if not text.strip(BLANKS) or name in ("text", "content", "richText"):
        return bool(text.strip(BLANKS))
    if re.fullmatch(r"\s*[\w.+-]+:/?/\S*\s*", text):
        return False
    return bool(
        WORD_FIELDS.search(name[-60:])
        or re.search(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[A-Za-z]{2} [A-Za-z]{2}", text)
    )


def is_body(value: Any) -> bool:
    """Whether an object that stood as JSON in a text is the body of a message, and not what somebody wrote."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and not first.keys().isdisjoint(BODY)


def question_of(message: Message, scope: str) -> str:
    r"""What the model is asked: the words, below those they refer to.

    In a history that a group shares, every line begins with who says it, so that nobody can speak for somebody else:
    'a\nb' of 小钉 -> '小钉#1f0e：a\n小钉#1f0e：b'
    """
    quotation = "".join(f"> {line}\n" for line in message.quotation.splitlines())
    words = "\n".join(filter(None, (quotation, message.text)))
    if scope != "group" or not message.in_group:
        return words
    speaker = f"{re.sub('[#:：]', ' ', message.nick).strip()}#{digest(message.person)[:4]}"  # nicks are not unique
    return "\n".join(f"{speaker}：{line}" for line in words.splitlines())


# The words that are commands; after a sign their English names are, too.
COMMANDS = {"清除": "clear", "重置": "clear", "状态": "status", "帮助": "help", "模型": "model", "角色": "prompt"}
WITH_ARGUMENT = ("model", "prompt")
OFF, OFF_WORDS = "off", ("off", "取消", "关闭")  # the argument that takes a choice away
SIGNS = ("\\", "/", "、")
SPOKEN_ENDS = "。.!?~…"  # what speech recognition puts behind a command; full-width signs are read as these


class Command(NamedTuple):
    """A command, and what follows it, for those of WITH_ARGUMENT."""

    name: str  # of COMMANDS; an unknown one is "help"
    argument: str = ""


def command_in(text: str) -> Command | None:
    """The command that the whole text is, None for a question.

    '\\clear' '／Ｃｌｅａｒ' '、clear' '清除' '清除。' -> clear; '\\model 2' '模型 2' '角色 翻译' -> with the rest; an
    unknown word, '/hi' -> help; '\\frac{a}{b}' '模型 怎么选' '角色：律师' -> None
    """
    visible = text.translate(dict.fromkeys(map(ord, INVISIBLE))).strip()
    head = re.split(r"[\s:：]", visible[:21], maxsplit=1)[0]
    between, argument = visible[len(head) : len(head) + 1], visible[len(head) + 1 :].strip()
    if not unicodedata.normalize("NFKC", argument[:9]).strip(SPOKEN_ENDS):
        argument = ""
    plain = unicodedata.normalize("NFKC", head)
    sign, word = (plain[0], plain[1:]) if plain[:1] in SIGNS else ("", plain)
    word = word if argument else word.rstrip(SPOKEN_ENDS)
    name = COMMANDS.get(word) or (word.lower() if sign and word.lower() in COMMANDS.values() else "")
    if argument:
        argument = OFF if argument.strip(SPOKEN_ENDS + "。！").lower() in OFF_WORDS else argument
        plain_words = between == " " and "\n" not in argument and (name == "prompt" or argument.isascii())
        return Command(name, argument) if name in WITH_ARGUMENT and (sign or plain_words) else None
    if sign and not name and re.fullmatch(r"[A-Za-z]\w{0,18}", word, re.ASCII):
        name = "help"
    return Command(name) if name else None
