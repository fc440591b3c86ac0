"""Every sentence that a person can see, in English, by cause: the names of zh.py. A name in {} is filled in."""

from __future__ import annotations

# Parts of several sentences.
app_keys = "DINGTALK_APP_KEY and DINGTALK_APP_SECRET"
send_again = "Please send it again. If it keeps happening, deployer:"
ask_again = "Please ask again later. If it keeps happening, deployer:"
as_text = "Please send me your question as text."
copy_it = "Please copy what you want to ask about into a message."
fc_name = "up to 128 letters, digits, underscores and hyphens, no digit or hyphen first"

# --- settings ---
SETTINGS = {  # what each is, behind its name when it is missing or malformed
    "ACCESS_KEY_ID": "the AccessKey ID for OSS; leave it empty to use the role of the service or function",
    "ACCESS_KEY_SECRET": "the AccessKey Secret for OSS; leave it empty to use the role of the service or function",
    "ALLOWED_GROUPS": "groups that may ask: comma-separated conversation IDs, such as cidG3x8sLw0aQn5uY==; empty: all",
    "ALLOWED_USERS": "people who may ask: comma-separated staff IDs, such as manager4501; empty: everyone",
    "CHATGPT_API_KEY": "the API key for ChatGPT",
    "CHATGPT_BASE_URL": "the address of OpenAI or of a compatible service",
    "CHATGPT_FUNCTION": f"the name of the function that answers messages, {fc_name}",
    "CHATGPT_MODEL": "the name of the model, or several separated by commas",
    "CHATGPT_OPTIONS": 'a JSON object added to the request, such as {"reasoning_effort": "low"}',
    "DAILY_LIMIT": "how many questions a person may ask a day; empty: no limit",
    "DINGTALK_API": "the address of DingTalk's API",
    "DINGTALK_APP_KEY": "the AppKey (Client ID) of the robot's DingTalk app; empty: no pictures and files",
    "DINGTALK_APP_SECRET": "the AppSecret (Client Secret) of the robot's DingTalk app",
    "ENDPOINT": "the address of Function Compute's API; empty: that of this account in this region",
    "HISTORY_LENGTH": "how many turns of the conversation the model sees, 0 to 1000",
    "HISTORY_MINUTES": "after how many minutes of silence a new conversation begins; empty: never",
    "HISTORY_SCOPE": "who shares a history: user, group or person",
    "LANGUAGE": "the language of the bot's own sentences: zh or en",
    "OSS_BUCKET_NAME": "the OSS bucket for the history: 3 to 63 lower-case letters, digits, hyphens (not at an end)",
    "OSS_ENDPOINT": "the address of OSS; empty: the internal one of this region",
    "OSS_REGION": "the region of the bucket, such as us-west-1; empty: that of OSS_ENDPOINT or of the function",
    "REPLY_FORMAT": "the format of answers: auto, text or markdown",
    "SERVICE_NAME": f"the service that both functions are in, {fc_name}; on 2.0 only; empty: that of this function",
    "SYSTEM_PROMPT": "the system prompt",
    "THINKING": "whether a message shows that its answer is under way: off or on",
    "TIMEOUT": "how many seconds to wait for ChatGPT, 1 to 3600",
    "VERBOSE": "the log level, such as INFO or DEBUG, or a number from 0 to 1000",
    "WEBHOOK_HOSTS": "the names of the hosts that answers may be sent to, such as dingtalk.com, separated by commas",
}
MISSING = "{name} is not set ({meaning})"
MALFORMED = "{name} is malformed{why} ({meaning})"
WHY = ": {advice}"
BETWEEN = "; "  # several problems
AND = ", "

# Why a value is malformed, and what to do about it.
LEAVE_EMPTY = "leave it empty if you do not need it"
WHOLE_NUMBER = "enter a whole number from {first} to {last}"
NO_QUOTES = "remove the quotation marks"
ONLY_THE_VALUE = "enter only what follows the equals sign"
NO_BEARER = "remove the word Bearer"
NOT_REPLACED = "it still contains a variable that was not replaced: enter the value itself"
NO_ADDRESS = "this is not the place for an address"
WHOLE_VALUE = "enter the whole value, without asterisks or dots in place of a part"
NO_BLANKS = "remove the blank, line break or invisible character inside it"
ONLY_ASCII = "remove Chinese and full-width characters"
NO_QUERY = "remove ? and # from the address"
HTTPS = "enter an address like https://example.com or https://example.com:8443, without blanks, Chinese or a password"
NO_PATH = "remove the path from the address"
ACCELERATE = "an accelerate endpoint is not a region"
SERVICE_ADDRESS = "enter the address of the service, or the full address that ends in /chat/completions or /responses"
DOUBLE_QUOTES = "put names and texts in double quotation marks, not in single ones, and without backslashes"
HALF_WIDTH = "use ASCII quotation marks, colons, commas and brackets"
NO_PYTHON = "write true, false and null, not True, False and None"
NO_LAST_COMMA = "remove the comma after the last entry"
NOT_ALLOWED = "it may not contain {names}"
OWN_TOOLS = 'its tools must be some that the service runs itself, such as [{"type": "web_search"}], not functions'
TOO_LARGE = "it has a number that is too large, NaN, or brackets that are nested too deeply"
REPEATED = "a name in it occurs twice"
TOO_MANY = "enter 1 to {most} of them"
IDS = "enter IDs, not the names of people or groups"

# What no single setting shows.
HALF_A_KEY = "ACCESS_KEY_ID and ACCESS_KEY_SECRET need each other: set both or neither"
KEY_WITHOUT_SECRET = "DINGTALK_APP_KEY needs DINGTALK_APP_SECRET as well"
THINKING_WITHOUT_KEY = f"THINKING=on needs {app_keys}"
OLD_OSS2 = "oss2 {version} is too old: deploy 2.18.4 or newer with the function"

# --- Dingtalk_Conversation: why a message was not handed over ---
OWNERS = {2: "service", 3: "function"}  # of the role, on each generation of Function Compute
CONVERSATION_NOT_SET_UP = "The bot is not set up yet. Deployer: check Dingtalk_Conversation's variables: {problems}."
NO_ROLE = "The {owner} has no role. Deployer: give it one with fc:InvokeFunction in the Function Compute console."
NOT_FUNCTION_COMPUTE = f"Something other than Function Compute answered. {send_again} check ENDPOINT (usually empty)."
NOT_CONFIRMED = "Function Compute did not confirm this message. If no answer comes in a minute, please send it again."
NOT_REACHED = "Function Compute cannot be reached. Deployer: check ENDPOINT of Dingtalk_Conversation (usually empty)."
ROLE_KEYS = "Function Compute refuses the role's credentials. Deployer: check the {owner}'s role, then deploy again."
OTHER_ACCOUNT = "This address or function belongs to another account. Deployer: check ENDPOINT (usually empty)."
NOT_ENABLED = "Function Compute is not activated, or is suspended. Deployer: activate it, or pay what is overdue."
MAY_NOT_INVOKE = "{function} may not be invoked. Deployer: add fc:InvokeFunction to the role of the {owner}."
NO_FUNCTION_2 = "There is no {function} in the service {service}. Deployer: check SERVICE_NAME and CHATGPT_FUNCTION."
NO_FUNCTION_3 = "There is no function {function}. Deployer: check CHATGPT_FUNCTION."
THROTTLED = "Too many people are asking right now. Please send your message again later."
FUNCTION_COMPUTE_FAILS = "Function Compute has a temporary problem. Please send your message again later."
FUNCTION_COMPUTE_REFUSES = "Function Compute refused this ({code}). Deployer: see the log of Dingtalk_Conversation."

# The page for a person who opens the address; it is shown in all languages.
DEPLOYED = "Dingtalk_Conversation is deployed."
CORRECT_THESE = "Correct these (environment variables of the function, role of the {owner}), then open this page again:"
ALL_SET = """All settings are there. Next: in DingTalk's developer console, enter this page's address as the robot's
message-receiving address (HTTP mode), then say hello to the robot."""
USE_A_BROWSER = "This event is no HTTP request. Open the address of the function's HTTP trigger in a browser instead."

# --- Dingtalk_ChatGPT_Reply: what is answered without ChatGPT ---
NOT_SET_UP = "The bot is not set up yet. Deployer: check the settings of Dingtalk_ChatGPT_Reply: {problems}."
INTERNAL = "Something went wrong in the bot. Deployer: look for request {request_id} in Dingtalk_ChatGPT_Reply's log."
PART = "({number}/{count})"  # in front of a part of a long answer
WITHHELD = (
    "DingTalk did not show this answer, or its rest (error {errcode}): too long, or refused. Please ask in other words."
)
HELP = """Just ask, or send one of these:
\\clear (清除): forget the conversation so far
\\model (模型): show the models; \\model 2 switches to the second one
\\prompt (角色): give this conversation a role, such as: \\prompt You are a translator; \\prompt off takes it away
\\status (状态): show the model and how much is remembered
\\help (帮助): show this help"""
CLEARED = "Done. I have forgotten our conversation so far."
NOT_CLEARED = "I could not forget our conversation: {problem}."
NOT_DELETED = "It is forgotten, but not yet deleted from OSS: {problem}. Send \\clear once more to delete it."
STATUS = """Model: {model}
Role: {prompt}
Turns remembered: {turns} ({most} at most)
Pictures and text files: {pictures}
Version: {version}"""
PICTURES_ON, PICTURES_OFF = "on", "off (DINGTALK_APP_KEY is not set)"
PROMPT_ON, PROMPT_OFF = "set (send \\prompt to see it)", "none"
MODELS = "These models can be used. Send \\model and a number or name to choose:\n{models}"
CHOSEN = " (in use)"  # behind the one that is asked
MODEL_CHOSEN = "Done. {model} answers in this conversation from now on."
UNKNOWN_MODEL = "There is no such model. You can choose:\n{models}"
PROMPT_IS = "The role of this conversation (send \\prompt off to take it away):\n{prompt}"
PROMPT_IS_NOT_SET = "There is no role yet. Write one after \\prompt, such as: \\prompt You are a translator."
PROMPT_SET = "Done. I answer in this role from now on. Send \\prompt off to take it away."
PROMPT_TAKEN_AWAY = "Done. This conversation has no role any more."
PROMPT_TOO_LONG = "A role has at most {most} characters; this one has {count}. Please shorten it and send it again."
CHOICE_NOT_KEPT = "What this conversation has chosen could not be saved or read: {problem}."
THINKING = "🤔Thinking"
UNREADABLE = {  # the answer to a message without words, by what it is
    "图片": f"I cannot look at pictures yet. {as_text}",
    "视频": f"I cannot watch videos. {as_text}",
    "语音": f"This voice message came without its text, and I cannot listen. {as_text}",
    "表情": f"I do not understand stickers. {as_text}",
    "文件": f"I cannot read files yet. {copy_it}",
    "文档": f"I cannot open DingTalk documents. {copy_it}",
    "卡片": f"This card has no text that I can read, and I cannot open what it links to. {copy_it}",
    "链接": f"I cannot open links. {copy_it}",
    "位置": "I cannot look at locations. Please write the place and your question as text.",
    "名片": f"I cannot look at contact cards. {as_text}",
    "聊天记录": f"DingTalk did not pass the text of this chat record on to me. {copy_it}",
    "引用": f"DingTalk did not pass the text of the message you quoted on to me. {copy_it}",
    "消息": f"I cannot read this kind of message yet. {as_text}",
}
NOT_SEEN = {  # what the person sees of a picture or a file that was not looked at, by cause
    "app": f"DingTalk does not recognise this app, so I see no pictures and files. Deployer: check {app_keys}.",
    "permission": "DingTalk does not let the bot download pictures and files. Deployer: open Permissions (权限管理) of "
    "this app in DingTalk's developer console and request qyapi_robot_sendmsg (企业内机器人发送消息权限).",
    "ip": "DingTalk only lets certain IP addresses download pictures and files. "
    "Deployer: empty the app's list of server IPs (服务器出口 IP) in DingTalk's developer console.",
    "quota": "This month's DingTalk API calls are used up. Ask your administrator for more, or try again next month.",
    "busy": "DingTalk is too busy to hand out the picture or file. Please send it again in a moment.",
    "robot": "DINGTALK_APP_KEY is that of another app, so I see no pictures. Deployer: enter that of the robot's app.",
    "expired": "The picture or file has expired. Please send it again.",
    "refused": f"DingTalk did not hand out the picture or file. {send_again} look up its error code in the log.",
    "network": f"The picture or file could not be downloaded. {send_again} check the function's network.",
    "missing": "DingTalk did not hand the picture or file to the bot. Please send it to me in a private chat.",
    "large": "The picture is larger than 5 MB, or the file larger than 100 KB. Please send a smaller one.",
    "picture": "I can only look at PNG, JPEG, WEBP and GIF pictures. Please convert this one and send it again.",
    "file": f"I can only read text files such as .txt, .md, .csv, .json and code. {copy_it}",
    "nothing in it": "This file is empty, or has nothing but blanks in it. Please check it and send it again.",
    "encoding": "I cannot tell how the text in this file is encoded. Please save it as UTF-8 and send it again.",
    "many": "I look at 4 pictures or files at most, so I left out the rest. Please send them in several messages.",
}
NOT_SEEN["token"] = NOT_SEEN["app"]
SWITCHED_OFF = f" Once the deployer has set {app_keys}, I can look at pictures and text files."
PICTURE_QUESTION = "Please look at this picture and say what is in it. If it contains a question, answer it."
PICTURES_QUESTION = "Please look at these pictures and say what is in them. If they contain a question, answer it."
FILE_QUESTION = "Please read this file and say what is in it. If it contains a question, answer it."
OVER_QUOTA = "DingTalk paused the bot: its messages are used up. Ask your administrator to see the developer console."
USER_REFUSED = "You may not use this bot yet. Deployer: add this person's staff ID ({person}) to ALLOWED_USERS."
GROUP_REFUSED = "This group may not use the bot yet. Deployer: add its ID ({conversation}) to ALLOWED_GROUPS."
LIMIT_REACHED = "Your {limit} questions for today are used up; come back tomorrow. The deployer can raise DAILY_LIMIT."
PICTURE = "picture"  # in the place of one that a client does not show
PICTURES_NOT_SHOWN = {  # below an answer with pictures, by cause
    "missing": f"The answer has a picture that is not shown here. Deployer: set {app_keys} to have pictures shown.",
    "text": "The answer has a picture that is not shown, because the deployer has set REPLY_FORMAT to text.",
    "unfit": "A picture is not shown: 4 are shown at most, of 5 MB each at most, in PNG, JPEG, GIF or WEBP.",
    "failed": f"The answer has a picture that DingTalk did not take. {ask_again} look into the function's log.",
}
SOURCES = "Sources:"  # the pages that an answer was made from, below it
NOTE = "({note})"  # below an answer

# --- ChatGPT ---
FAILURES = {  # what the person sees when ChatGPT does not answer, by cause
    "key": "The API key for ChatGPT is not valid. Deployer: check CHATGPT_API_KEY.",
    "forbidden": "This key may not use ChatGPT. Deployer: check key, project and account in the provider's console.",
    "region": "ChatGPT does not serve this country or region. Deployer: deploy in another, or set CHATGPT_BASE_URL.",
    "model": "ChatGPT does not have this model, or it is not activated for this account. "
    "Deployer: check CHATGPT_MODEL, and activate the model in the provider's console.",
    "address": "No ChatGPT API answered at this address: it may be wrong, or the provider's firewall may block the "
    "function or its region. Deployer: check CHATGPT_BASE_URL, and ask the provider.",
    "balance": "The ChatGPT account has run out of money or (free) quota. Deployer: top it up, or raise its limit.",
    "busy": "ChatGPT is too busy, or was asked too often. Please ask again in a moment.",
    "long": "This question is too long for the model. Please shorten it.",
    "filtered": "ChatGPT's content filter refused this question or its answer. Please ask in other words.",
    "vision": "This model cannot look at pictures. Please ask in words, or ask the deployer to change CHATGPT_MODEL.",
    "picture": "ChatGPT cannot read this picture, its size or format. Please try a PNG or JPEG, or ask in words.",
    "options": "ChatGPT does not accept this request. Deployer: check CHATGPT_OPTIONS and CHATGPT_MODEL.",
    "timeout": "ChatGPT did not finish in time. Please ask again later, or ask in smaller steps. "
    "The deployer can raise TIMEOUT; the function's time-out has to be at least 30 seconds more.",
    "network": f"ChatGPT cannot be reached. {ask_again} check CHATGPT_BASE_URL and the function's network.",
    "down": f"ChatGPT has a temporary problem. {ask_again} check CHATGPT_BASE_URL, and ask the provider "
    "whether it blocks the function's region.",
    "strange": "ChatGPT's answer makes no sense. Deployer: check that CHATGPT_BASE_URL is compatible with OpenAI.",
    "empty": f"ChatGPT's answer is empty. {ask_again} check the length limit in CHATGPT_OPTIONS.",
    "ended": "ChatGPT ended without an answer. Please ask in other words, or ask again later.",
    "thoughts": f"The model only gave its reasoning, and no answer. {ask_again} raise the length limit in "
    'CHATGPT_OPTIONS (such as max_tokens), or switch reasoning off (such as {"enable_thinking": false}).',
    "tools": f"The model wanted to call a tool, and the bot has none. {ask_again} choose another model.",
}
# What may be due to the pictures of a question, and what the person sees then.
PICTURES_REFUSED = {"vision": FAILURES["vision"], **dict.fromkeys(("picture", "long"), FAILURES["picture"])}
PICTURES_REFUSED["filtered"] = "ChatGPT's content filter refused the picture. Please send another one, or ask in words."
PICTURES_REFUSED["options"] = PICTURES_REFUSED["strange"] = PICTURES_REFUSED["down"] = (
    "ChatGPT does not accept a question with pictures; perhaps this model cannot look at them. "
    "Please ask in words, or ask the deployer to check CHATGPT_MODEL and CHATGPT_OPTIONS."
)
SERVICE_SAID = "(The service says: {said})"  # below a sentence about which a deployer must act
# Below an answer that ends too early.
TOO_SHORT = "(The answer reached its length limit and was cut off here.)"
GO_ON = "Go on"  # a link that a tap sends
TAKEN_AWAY = "(The content filter refused the rest of the answer.)"
TOOL_CALLED = "(The model also wanted to call a tool, and the bot has none.)"
BROKEN_OFF = "(ChatGPT failed before the answer was finished.)"
NOT_ALL_SENT = "(The answer is too long: the rest was not sent. Ask me to go on, or ask something narrower.)"

# --- OSS ---
HISTORY_NOT_READ = "(The history could not be read, so earlier messages were not considered. {problem}.)"
HISTORY_PERHAPS_NOT_SAVED = "(This turn may not have been saved in the history. {problem}.)"
HISTORY_NOT_SAVED = "(This turn could not be saved in the history. {problem}.)"
HISTORY_NOT_READ_NOR_SAVED = "(Earlier messages could not be considered, and this turn may not be saved. {problem}.)"
OSS_NOT_REACHED = "OSS cannot be reached ({error}): check OSS_ENDPOINT"
OSS_ERROR = "OSS error {code}, request {request_id}"
OSS_WHAT_TO_DO = ": {hint}"  # behind OSS_ERROR
TOO_MANY_AT_ONCE = "too many people wrote at the same time"
OSS_HINTS = {  # what the deployer can do, by cause
    "overdue": "the Alibaba Cloud account is overdue or disabled; top it up, or read Alibaba Cloud's messages",
    "bucket disabled": "the bucket is disabled for security reasons; see why in the OSS console, or use another bucket",
    "other owner": "this bucket belongs to another account; check OSS_BUCKET_NAME",
    "no bucket": "check OSS_BUCKET_NAME",
    "acceleration": "switch on transfer acceleration for the bucket first, or empty OSS_ENDPOINT",
    "public endpoint": "set OSS_ENDPOINT to the internal address, or leave it empty",
    "endpoint": "check OSS_ENDPOINT; it should look like https://oss-us-west-1.aliyuncs.com",
    "other region": "the bucket is not in this region; check OSS_ENDPOINT and OSS_REGION",
    "role": "check the role of the service or function, then deploy again",
    "clock": "the function's clock is wrong; try again later, and deploy again if it keeps happening",
    "key id": "check ACCESS_KEY_ID, or empty it and ACCESS_KEY_SECRET to use the role",
    "key secret": "check ACCESS_KEY_SECRET and OSS_REGION",
    "policy": "a bucket policy or VPC policy does not allow it; check these in the OSS console, then the role",
    "storage class": "archived objects cannot be read; use a Standard bucket, or remove the rule that archives them",
    "permission": "the role (or AccessKey) needs oss:GetObject, oss:PutObject and oss:DeleteObject "
    "on chat-journal/*, chat-history/*, chat-settings/* and chat-usage/*",
    "region": "check OSS_REGION; it is the region of the bucket",
    "not appendable": "in the OSS console, delete the objects in chat-journal/ and chat-history/ that are not "
    "appendable; if the bucket ever had versioning, use another one",
    "immutable": "the bucket's retention policy does not allow writing; use another bucket",
    "encryption": "the bucket's encryption key cannot be used; check server-side encryption, or use another bucket",
    "busy": "OSS is throttling; try again later",
}

# --- the self-check of Dingtalk_ChatGPT_Reply ---
REPORT = {"settings": "settings", "time-out": "time-out", "DingTalk": "DingTalk pictures and files"}  # its parts
SHORT_TIME_OUT = "the function's time-out is {seconds} s; set it to {needed} s or more"
NOT_CHECKED = "not checked: correct {name} first"
NO_TIME_TO_CHECK = "not finished: time was up; set a longer time-out of the function and check again"
VERSIONED = "versioning is or was on: \\clear leaves old versions, and saving may fail. Use a bucket that never had it"
