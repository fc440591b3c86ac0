"""Reads what people send: a message from DingTalk, whatever its kind."""

import re
import unicodedata
from typing import Any, NamedTuple

from bot.values import BLANKS, INVISIBLE, digest, encodable, first_object, first_text, json_in, read_json

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
NAMING_FIELDS = re.compile(r"^(?!sender).*(name|title|address|nick|label|desc\w*)$", re.IGNORECASE)
DOWNLOAD_CODES = ("downloadCode", "pictureDownloadCode")  # the second only where the first is missing
A_MESSAGE, ITS_CONTENT = "(message)", "(content)"  # in place of a field's name: a whole message, what its `content` is
RECORDS = ("chatrecord", "chatrecords", "records", "messages")  # fields with the messages of a forwarded conversation
BODY = {  # one of these fields is in the body of every message: JSON without them is what somebody wrote
    *("text", "content", "title", "markdown", "summary", "recognition", "richText", "chatRecord", "records", "msgType"),
    *("cardContent", "cardData", "cardParamMap", "elementType", "children", "fileName", "msgtype"),
    *DOWNLOAD_CODES,
}
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
    message = Message(
        id=first_text(raw, "msgId"),
        conversation_id=first_text(raw, "conversationId"),
        in_group=first_text(raw, "conversationType") == "2",
        staff_id=first_text(raw, "senderStaffId"),
        corp_id=first_text(raw, "senderCorpId"),
        person=first_text(raw, "senderStaffId", "senderId"),
        nick=" ".join(first_text(raw, "senderNick").split())[:40],
        text=words_of(own),
        quotation=words_of(quoted),
        unreadable=unreadable_in(both),
        attachments=[piece for piece in both if piece.download_code and piece.noun in (PICTURE, FILE)],
        robot_code=first_text(raw, "robotCode"),
        over_quota=not (raw.get("text") or raw.get("content")) and "errorCode" in raw,
        webhook=first_text(raw, "sessionWebhook"),
        webhook_expires_ms=expires_ms if isinstance(expires_ms, int) else None,
        asked_ms=int(created) if re.fullmatch("[0-9]{1,15}", created) else 0,
    )
    return message if message.id and message.conversation_id else None


def own_pieces(raw: dict[str, Any]) -> list[Piece]:
    """What the person sent, without the bot's own name; a mark if it holds no words and is no text."""
    kind = first_text(raw, "msgtype") or "text"
    bodies = [{name: raw[name]} for name in (kind, "content", "text") if raw.get(name)]
    found = [pieces_in_object({"msgtype": kind, **body}, A_MESSAGE, 0) for body in bodies or [{}]]
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
    seen = len(re.findall(r"(?<![\w.-])@[^\s@]", "\n".join(piece.words for piece in pieces), re.ASCII))
    if not pieces or not (raw.get("isInAtList") is True or (own and own in people)) or seen < len(people):
        return pieces
    first, rest = pieces[0], pieces[1:]
    words = first.words.lstrip(BLANKS)
    if first.noun == MENTION:  # it tells a name, but not whose it is
        return rest if len(people) < 2 else pieces
    if words.startswith("@") and command_in(words_of(rest)):
        return rest
    return [first._replace(words=re.sub(r"\A@[^\s@\\/＼／、，,：:]+", "", words)), *rest]


def quotation_in(raw: dict[str, Any]) -> list[Piece]:
    """What the message answers to; it stands in `text` or in `content`, or beside them, or only its id does."""
    bodies = [json_in(raw.get(name)) for name in ("content", "text")]
    places = [place for place in (*bodies, raw) if isinstance(place, dict)]
    names = ("repliedMsg", "quoteMessage", "quotedMsg", "quotedMessage")
    quoted = next((place[name] for place in places for name in names if place.get(name)), None)
    pieces = pieces_in(quoted, A_MESSAGE, 0)
    told = any(place.get("isReplyMsg") in (True, "true") or place.get("originalMsgId") for place in places)
    if words_of(pieces) or not (told or isinstance(quoted, dict)):
        return pieces
    return [Piece(UNQUOTED, "引用")]


def words_of(pieces: list[Piece]) -> str:
    """The pieces as one text, without surrounding blanks."""
    return "".join(piece.words for piece in pieces).strip(BLANKS)


def unreadable_in(pieces: list[Piece]) -> str:
    """What came, if it has no words: the noun of the first mark; '' if there are words, or nothing at all."""
    if any(piece.words.strip(BLANKS) and piece.noun in ("", MENTION) for piece in pieces):
        return ""
    return next((piece.noun for piece in pieces if piece.noun), "")


def pieces_in(value: Any, name: str, depth: int) -> list[Piece]:
    """What there is to read in any value, in the order in which it stands; `name`: the field that it is in.

    {"content": "a"}, {"recognition": "a"}, {"richText": [{"text": "a"}]}, and all of them as JSON in a text -> "a".
    """
    if depth > MAX_BODY_DEPTH:
        return []
    if isinstance(value, str):
        return pieces_in_text(encodable(value), name, depth)
    if isinstance(value, list):
        items = [pieces_in(item, name, depth + 1) for item in value[:MAX_FIELDS]]
        return joined(items, "" if name == "richText" else "\n")
    return pieces_in_object(value, name, depth) if isinstance(value, dict) else []


def pieces_in_text(text: str, name: str, depth: int) -> list[Piece]:
    """The words that a text is, or those in it if it is the JSON of something else."""
    a_body = name in (A_MESSAGE, ITS_CONTENT)
    body = json_in(text) if a_body or name not in VERBATIM else None
    if body is not None and (not a_body or first_object(body).keys() & BODY):
        found = pieces_in(body, name, depth + 1)
        # Only now it shows: a body with nothing to read, and no picture, is what somebody wrote, such as {"title": 5}.
        if found or not a_body or first_text(texts_in(body), *DOWNLOAD_CODES):
            return found
    return [Piece(text)] if text.strip(BLANKS) and (a_body or is_words(text, name)) else []


def is_words(text: str, name: str) -> bool:
    """Whether a field holds words for people, and not an address, an id, a number."""
    if name in ("text", "content"):
        return True
    if re.fullmatch(r"\s*[\w.+-]+:/?/\S*\s*", text):
        return False
    return bool(
        WORD_FIELDS.search(name)
        or re.search(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[A-Za-z]{2} [A-Za-z]{2}", text)
    )


def pieces_in_object(fields: dict[str, Any], name: str, depth: int) -> list[Piece]:
    """The words of a message, of a piece of rich text or of a card; or the mark that names it."""
    kind = first_text(fields, "msgType", "msgtype", "type", "elementType")
    if kind == "at" or first_text(fields, "atName"):
        who = first_text(fields, "atName", "text", "content", "name").lstrip("@")
        return [Piece(f"@{who} ", MENTION)] if who else []
    known = (noun for pattern, noun in NOUNS if re.search(pattern, kind, re.IGNORECASE))
    noun = next(known, FILE if first_text(fields, "fileName") else "")
    found = pieces_in_fields(fields, name, depth)
    if not noun or any(piece.noun == noun for piece in found):
        return found
    texts, names = texts_in(fields), []
    if noun in LABELLED:
        found, names = [], list(dict.fromkeys(texts[field] for field in texts if NAMING_FIELDS.search(field)))
    label = " ".join([noun, *names[:2]]).split()
    mark = Piece(f"[{' '.join(label)[:100]}]", noun, first_text(texts, *DOWNLOAD_CODES))
    return [mark, *found] if noun in LOOKED_AT or not found else found


def pieces_in_fields(fields: dict[str, Any], place: str, depth: int) -> list[Piece]:
    """What there is to read in an object, titles first, and nothing twice: a title often begins the text as well."""
    found: list[list[Piece]] = []
    for name, value in sorted(fields_of(fields), key=lambda field: (field[0] != "title", field[0].lower() in RECORDS)):
        if WORDLESS_FIELDS.search(name):
            continue
        entries = json_in(value) if name.lower() in RECORDS else None
        if isinstance(entries, list):
            pieces = pieces_in_records(entries, "\n".join(map(words_of, found)), depth + 1)
        else:
            pieces = pieces_in(value, ITS_CONTENT if (place, name) == (A_MESSAGE, "content") else name, depth + 1)
        if pieces and pieces not in found:
            found.append(pieces)
    if "title" in fields and any(words_of(found[0]) in words_of(pieces) for pieces in found[1:]):
        del found[0]
    return joined(found, "\n")


def pieces_in_records(entries: list[Any], summary: str, depth: int) -> list[Piece]:
    """The messages of a forwarded conversation, a line for each, but for those that its summary has."""
    lines = []
    for entry in entries[:MAX_FIELDS]:
        pieces = pieces_in(entry, A_MESSAGE, depth)
        if pieces and words_of(pieces) not in summary:
            sender = first_text(first_object(entry), "senderNick", "senderName", "nickName", "nick")  # an id is none
            lines.append([Piece(f"{sender}："), *pieces] if sender else pieces)
    return joined(lines, "\n")


def fields_of(body: dict[str, Any]) -> list[tuple[str, Any]]:
    """The first fields, with the ends of their names, by which they are known."""
    return [(name[-60:], value) for name, value in list(body.items())[:MAX_FIELDS]]


def texts_in(value: Any) -> dict[str, str]:
    """The fields that are texts, of an object and of those in it; of several with one name the outermost."""
    bodies, texts = [json_in(value)], dict[str, str]()
    for body in bodies:  # and those that are found on the way
        for name, inner in fields_of(body) if isinstance(body, dict) else ():
            if not WORDLESS_FIELDS.search(name):
                bodies.append(json_in(inner))
            if isinstance(inner, str) and inner.strip():
                texts.setdefault(name, encodable(inner))
    return texts


def joined(found: list[list[Piece]], separator: str) -> list[Piece]:
    """All pieces in one list, with the separator between those that stood apart."""
    pieces: list[Piece] = []
    for more in filter(None, found):
        pieces += [Piece(separator), *more] if pieces and separator else more
    return pieces


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
