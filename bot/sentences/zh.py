"""Every sentence that a person can see, in Chinese, by cause. A name in {} is filled in."""

from __future__ import annotations

# A part of two sentences.
fc_name = "最多 128 个字母、数字、下划线和短横线，以字母或下划线开头"

# --- settings ---
SETTINGS = {  # what each is, behind its name when it is missing or malformed
    "ACCESS_KEY_ID": "访问 OSS 的 AccessKey ID；不填就用服务或函数的角色",
    "ACCESS_KEY_SECRET": "访问 OSS 的 AccessKey Secret；不填就用服务或函数的角色",
    "ALLOWED_GROUPS": "可以提问的群的会话 ID，例如 cidG3x8sLw0aQn5uY==，用逗号分开；不填就是所有群",
    "ALLOWED_USERS": "可以提问的人的员工 ID，例如 manager4501，用逗号分开；不填就是所有人",
    "CHATGPT_API_KEY": "ChatGPT 的 API 密钥",
    "CHATGPT_BASE_URL": "OpenAI 或兼容服务的地址",
    "CHATGPT_FUNCTION": f"回答消息的函数的名称，{fc_name}",
    "CHATGPT_MODEL": "模型的名称；可以用逗号分开写几个",
    "CHATGPT_OPTIONS": '加进请求的 JSON 对象，例如 {"reasoning_effort": "low"}',
    "DAILY_LIMIT": "每人每天最多提问几次；不填就不限",
    "DINGTALK_API": "钉钉开放平台的 API 地址",
    "DINGTALK_APP_KEY": "机器人所属钉钉应用的 AppKey（Client ID）；不填就不看图片和文件",
    "DINGTALK_APP_SECRET": "机器人所属钉钉应用的 AppSecret（Client Secret）",
    "ENDPOINT": "函数计算的 API 地址；不填就是本账号在本地域的地址",
    "HISTORY_LENGTH": "让模型看到最近几轮对话，0 到 1000",
    "HISTORY_MINUTES": "停顿多少分钟以后算新的对话；不填就一直接着说",
    "HISTORY_SCOPE": "聊天记录按什么范围保存：user、group 或 person",
    "LANGUAGE": "机器人自己说的话用什么语言：zh 或 en",
    "OSS_BUCKET_NAME": "存放聊天记录的 OSS Bucket 的名称，3 到 63 个小写字母、数字和短横线，首尾不能是短横线",
    "OSS_ENDPOINT": "OSS 的访问地址；不填就是本地域的内网地址",
    "OSS_REGION": "Bucket 的地域，例如 us-west-1；不填就按 OSS_ENDPOINT 或函数所在的地域",
    "REPLY_FORMAT": "回答的格式：auto、text 或 markdown",
    "SERVICE_NAME": f"两个函数所在的服务的名称，{fc_name}；只用于 2.0，不填就是本函数所在的服务",
    "SYSTEM_PROMPT": "给模型的系统提示词",
    "THINKING": "回答之前在消息上显示“思考中”：off 或 on",
    "TIMEOUT": "最多等 ChatGPT 多少秒，1 到 3600",
    "VERBOSE": "日志级别，例如 INFO 或 DEBUG，也可以是 0 到 1000 的数字",
    "WEBHOOK_HOSTS": "可以发送回答的域名，例如 dingtalk.com，用逗号分开",
}
MISSING = "{name} 没有设置（{meaning}）"
MALFORMED = "{name} 格式不对{why}（{meaning}）"
WHY = "，{advice}"
BETWEEN = "；"  # several problems
AND = "、"

# Why a value is malformed, and what to do about it.
LEAVE_EMPTY = "不需要时请留空"
WHOLE_NUMBER = "应该是 {first} 到 {last} 的整数"
NO_QUOTES = "不要加引号"
ONLY_THE_VALUE = "只填等号后面的内容"
NO_BEARER = "不要带 Bearer"
NOT_REPLACED = "里面的变量没有被替换，请直接填值"
NO_ADDRESS = "这里不填网址"
WHOLE_VALUE = "要填完整的值，不能带星号或省略号"
NO_BLANKS = "中间不能有空白、换行或看不见的字符"
ONLY_ASCII = "不能有中文或全角字符"
NO_QUERY = "网址不要带 ? 或 #"
HTTPS = "应该是 https:// 开头的网址，例如 https://example.com 或 https://example.com:8443，不能带空白、中文或密码"
NO_PATH = "网址不要带路径"
ACCELERATE = "传输加速的地址不是地域"
SERVICE_ADDRESS = "应该是服务的地址，或者以 /chat/completions 或 /responses 结尾的完整地址"
DOUBLE_QUOTES = "名称和文字要用双引号括起来，不能用单引号，也不要加反斜杠"
HALF_WIDTH = "引号、冒号、逗号和括号都要用半角"
NO_PYTHON = "要写 true、false、null，不能写 True、False、None"
NO_LAST_COMMA = "最后一项后面不能有逗号"
NOT_ALLOWED = "不能有 {names}"
OWN_TOOLS = '里面的 tools 只能是服务自己会执行的工具，例如 [{"type": "web_search"}]，不能是 function'
TOO_LARGE = "里面有太大的数、NaN，或者括号层数太多"
REPEATED = "不能有重复的名称"
TOO_MANY = "要填 1 到 {most} 个"
IDS = "要填 ID，不是姓名或群名"

# What no single setting shows.
HALF_A_KEY = "ACCESS_KEY_ID 和 ACCESS_KEY_SECRET 要么都设置，要么都不设置"
KEY_WITHOUT_SECRET = "设置了 DINGTALK_APP_KEY，就还要设置 DINGTALK_APP_SECRET"
THINKING_WITHOUT_KEY = "THINKING=on 需要设置 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET"
OLD_OSS2 = "oss2 的版本 {version} 太旧，请随函数一起部署 2.18.4 或更新的版本"

# --- Dingtalk_Conversation: why a message was not handed over ---
OWNERS = {2: "服务", 3: "函数"}  # of the role, on each generation of Function Compute
CONVERSATION_NOT_SET_UP = "机器人还没有设置好。请部署者检查 Dingtalk_Conversation 的环境变量：{problems}。"
NO_ROLE = "{owner}没有角色，不能调用别的函数。请部署者在函数计算控制台给{owner}配置角色（权限 fc:InvokeFunction）。"
NOT_FUNCTION_COMPUTE = (
    "回应的不是函数计算。请稍后再发一次；如果一直这样，请部署者检查 Dingtalk_Conversation 的 ENDPOINT。"
)
NOT_CONFIRMED = "函数计算没有及时确认这条消息。如果一分钟后还没有回答，请再发一次。"
NOT_REACHED = "连接不上函数计算。请部署者检查 Dingtalk_Conversation 的环境变量 ENDPOINT（一般不用填）。"
ROLE_KEYS = "函数计算不接受{owner}角色的临时凭证。请部署者检查{owner}的角色，再重新部署函数。"
OTHER_ACCOUNT = "函数计算说这个地址或函数属于别的账号。请部署者检查环境变量 ENDPOINT（一般不用填）。"
NOT_ENABLED = "这个账号还没有开通函数计算，或者服务被停用了。请部署者在函数计算控制台开通，并检查账号是否欠费。"
MAY_NOT_INVOKE = "没有权限调用函数 {function}。请部署者给{owner}的角色加上权限 fc:InvokeFunction。"
NO_FUNCTION_2 = "找不到服务 {service} 中的函数 {function}。请部署者检查环境变量 SERVICE_NAME 和 CHATGPT_FUNCTION。"
NO_FUNCTION_3 = "找不到函数 {function}。请部署者检查环境变量 CHATGPT_FUNCTION。"
THROTTLED = "现在提问的人太多，函数计算限流了。请稍后再发一次。"
FUNCTION_COMPUTE_FAILS = "函数计算暂时出错。请稍后再发一次。"
FUNCTION_COMPUTE_REFUSES = "函数计算拒绝了这条消息（{code}）。请部署者查看 Dingtalk_Conversation 的日志。"

# The page for a person who opens the address; it is shown in all languages.
DEPLOYED = "Dingtalk_Conversation 已部署。"
CORRECT_THESE = "请部署者改正下面各项（函数的环境变量、{owner}的角色），再打开本页："
ALL_SET = """设置齐全。下一步：在钉钉开发者后台把本页的地址填为机器人的消息接收地址（HTTP 模式），
然后对机器人说“你好”。"""
USE_A_BROWSER = "这个事件不是 HTTP 请求。请用浏览器打开本函数的 HTTP 触发器的地址，查看设置是否齐全。"

# --- Dingtalk_ChatGPT_Reply: what is answered without ChatGPT ---
NOT_SET_UP = "机器人还没有设置好。请部署者检查函数 Dingtalk_ChatGPT_Reply 的设置：{problems}。"
INTERNAL = "机器人内部出错了。请部署者在 Dingtalk_ChatGPT_Reply 的日志里查找请求 {request_id}。"
PART = "（{number}/{count}）"  # in front of a part of a long answer
WITHHELD = "钉钉没有显示这条回答或它后面的部分（错误码 {errcode}）：可能太长，或者内容审核没有通过。请换一种问法。"
HELP = """可以直接提问，也可以发送：
\\clear（或 清除）：忘掉之前的对话
\\model（或 模型）：查看可以用的模型，\\model 2 换成第 2 个
\\prompt（或 角色）：给这个会话设定角色，例如：\\prompt 你是中英互译的翻译；\\prompt off 取消
\\status（或 状态）：查看模型和记住的对话轮数
\\help（或 帮助）：显示这些说明"""
CLEARED = "好的，之前的对话我都忘掉了。"
NOT_CLEARED = "没能忘掉之前的对话：{problem}。"
NOT_DELETED = "之前的对话我不会再参考了，但是没能从 OSS 里删掉：{problem}。再发一次 \\clear 会重新删除。"
STATUS = """模型：{model}
角色：{prompt}
记住的对话：{turns} 轮（最多 {most} 轮）
图片和文本文件：{pictures}
版本：{version}"""
PICTURES_ON, PICTURES_OFF = "能看", "看不了（没有设置 DINGTALK_APP_KEY）"
PROMPT_ON, PROMPT_OFF = "已设定（发送 \\prompt 查看）", "没有设定"
MODELS = "可以用的模型，发送 \\model 加序号或名称来选择：\n{models}"
CHOSEN = "（正在使用）"  # behind the one that is asked
MODEL_CHOSEN = "好的，这个会话以后用 {model} 回答。"
UNKNOWN_MODEL = "没有这个模型。可以选择：\n{models}"
PROMPT_IS = "这个会话的角色（发送 \\prompt off 取消）：\n{prompt}"
PROMPT_IS_NOT_SET = "这个会话还没有设定角色。在 \\prompt 后面写上说明就能设定，例如：\\prompt 你是中英互译的翻译。"
PROMPT_SET = "好的，这个会话以后按这个角色回答。发送 \\prompt off 取消。"
PROMPT_TAKEN_AWAY = "好的，这个会话不再有角色。"
PROMPT_TOO_LONG = "角色最多 {most} 个字，这里有 {count} 个。请缩短以后再发一次。"
CHOICE_NOT_KEPT = "没能保存或读取这个会话的选择：{problem}。"
THINKING = "🤔思考中"
UNREADABLE = {  # the answer to a message without words, by what it is
    "图片": "我还看不了图片。请用文字把问题发给我。",
    "视频": "我还看不了视频。请用文字把问题发给我。",
    "语音": "这条语音没有转成文字，我听不了。请用文字把问题发给我。",
    "表情": "我看不懂表情。请用文字把问题发给我。",
    "文件": "我还读不了文件。请把要问的内容复制成文字发给我。",
    "文档": "我打不开钉钉文档。请把要问的内容复制成文字发给我。",
    "卡片": "这张卡片里没有我能读的文字，卡片指向的文档或网页我也打不开。请把要问的内容复制成文字发给我。",
    "链接": "我打不开链接。请把要问的内容复制成文字发给我。",
    "位置": "我看不了位置信息。请用文字写出地点和问题。",
    "名片": "我看不了名片。请用文字把问题发给我。",
    "聊天记录": "钉钉没有把这份聊天记录的文字转给我。请把要问的内容复制成文字发给我。",
    "引用": "钉钉没有把你引用的那条消息的文字转给我。请把要问的内容复制成文字发给我。",
    "消息": "我还读不了这种消息。请用文字把问题发给我。",
}
NOT_SEEN = {  # what the person sees of a picture or a file that was not looked at, by cause
    "app": "钉钉无法识别这个应用，所以看不了图片和文件。请部署者检查环境变量 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET。",
    "permission": "钉钉不允许机器人下载图片和文件。请部署者在钉钉开发者后台打开这个应用的“权限管理”，"
    "申请权限 qyapi_robot_sendmsg（企业内机器人发送消息权限）。",
    "ip": "钉钉只允许指定的 IP 访问，所以下载不了图片和文件。请部署者在钉钉开发者后台清空这个应用的服务器出口 IP。",
    "quota": "本组织这个月的钉钉 API 调用量用完了，下载不了图片和文件。请联系组织的管理员增加额度，或者下个月再试。",
    "busy": "钉钉现在太忙，图片或文件没有下载下来。请过一会儿再发一次。",
    "robot": "这个机器人不属于 DINGTALK_APP_KEY 的应用，看不了图片和文件。请部署者改成机器人所属应用的 AppKey。",
    "expired": "图片或文件已经过期，下载不了。请重新发一次。",
    "refused": "没能从钉钉取到图片或文件。请重新发一次；如果一直这样，请部署者在日志里查看钉钉的错误码。",
    "network": "图片或文件没有下载下来。请再发一次；如果一直这样，请部署者检查函数的网络。",
    "missing": "钉钉没有把图片或文件交给机器人，我看不到。请在单聊里直接发给我。",
    "large": "图片超过 5 MB，或者文件超过 100 KB，我看不了。请压缩图片，或者只发要问的那部分文字。",
    "picture": "这张图片的格式我看不了，只能看 PNG、JPEG、WEBP 和 GIF。请转换格式以后再发。",
    "file": "这个文件我读不了，只能读文本文件，例如 .txt、.md、.csv、.json、代码。请把要问的内容复制成文字发给我。",
    "nothing in it": "这个文件是空的，或者只有空白。请检查以后再发。",
    "encoding": "我认不出这个文件的文字编码。请把它另存为 UTF-8 编码以后再发。",
    "many": "一次最多看 4 张图片或文件，后面的没有看。请分几次发。",
}
NOT_SEEN["token"] = NOT_SEEN["app"]
SWITCHED_OFF = "部署者设置 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET 以后，我就能看图片和文本文件。"
PICTURE_QUESTION = "请看这张图片，说说里面有什么；如果里面是问题，请直接回答。"
PICTURES_QUESTION = "请看这些图片，说说里面有什么；如果里面是问题，请直接回答。"
FILE_QUESTION = "请读这个文件，说说里面写了什么；如果里面是问题，请直接回答。"
OVER_QUOTA = "钉钉说本组织的消息调用量已经用完，机器人的服务暂停了。请联系组织的管理员在钉钉开发者后台处理。"
USER_REFUSED = "你还不能使用这个机器人。请部署者把你的员工 ID（{person}）加进环境变量 ALLOWED_USERS。"
GROUP_REFUSED = "这个群还不能使用机器人。请部署者把群的会话 ID（{conversation}）加进环境变量 ALLOWED_GROUPS。"
LIMIT_REACHED = "你今天的 {limit} 次提问机会已经用完，明天再来吧。需要更多时，请部署者调大环境变量 DAILY_LIMIT。"
PICTURE = "图片"  # in the place of one that a client does not show
PICTURES_NOT_SHOWN = {  # below an answer with pictures, by cause
    "missing": "回答里有图片，这里没有显示。部署者设置 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET 以后就能显示。",
    "text": "回答里有图片，这里没有显示，因为部署者把 REPLY_FORMAT 设成了 text。",
    "unfit": "回答里有图片没有显示：最多显示 4 张，每张不超过 5 MB，格式是 PNG、JPEG、GIF 或 WEBP。",
    "failed": "回答里有图片没有显示，因为没能传给钉钉。请再问一次；如果一直这样，请部署者看函数的日志。",
}
SOURCES = "来源："  # the pages that an answer was made from, below it
NOTE = "（{note}）"  # below an answer

# --- ChatGPT ---
FAILURES = {  # what the person sees when ChatGPT does not answer, by cause
    "key": "ChatGPT 的 API 密钥无效。请部署者检查环境变量 CHATGPT_API_KEY。",
    "forbidden": "这个密钥没有权限使用 ChatGPT。请部署者在服务商的控制台检查密钥、项目和账户的状态。",
    "region": "ChatGPT 不支持函数所在的国家或地区。请部署者换一个地域部署，或者设置 CHATGPT_BASE_URL。",
    "model": "没有这个模型，或者账户还没有开通它。请部署者检查环境变量 CHATGPT_MODEL，并在服务商的控制台开通。",
    "address": "这个地址上没有 ChatGPT 的接口：地址可能不对，也可能是服务商的防火墙拦住了请求或函数所在的地域。"
    "请部署者检查环境变量 CHATGPT_BASE_URL，并问问服务商。",
    "balance": "ChatGPT 账户的余额或额度用完了（也可能是免费额度用完了）。请部署者充值，或者提高额度上限。",
    "busy": "ChatGPT 现在太忙，或者提问太频繁了。请过一会儿再问。",
    "long": "这个问题太长，模型读不完。请缩短以后再问。",
    "filtered": "这个问题或它的回答没有通过 ChatGPT 的内容审核。请换一种问法。",
    "vision": "这个模型看不了图片。请用文字提问，或者请部署者把环境变量 CHATGPT_MODEL 换成能看图片的模型。",
    "picture": "ChatGPT 读不了这张图片。它可能太大、太小，或者格式不对。请换一张 PNG 或 JPEG 图片，或者用文字提问。",
    "options": "ChatGPT 不接受这样的请求。请部署者检查环境变量 CHATGPT_OPTIONS 和 CHATGPT_MODEL。",
    "timeout": "ChatGPT 没有在规定的时间内答完。请稍后再问，或者把问题拆成几个小问题；"
    "部署者可以调大环境变量 TIMEOUT，函数的执行超时时间要比它至少多 30 秒。",
    "network": "连接不上 ChatGPT。请稍后再问；如果一直这样，请部署者检查 CHATGPT_BASE_URL 和函数的网络。",
    "down": "ChatGPT 暂时出错了。请稍后再问；如果一直这样，请部署者检查 CHATGPT_BASE_URL，并问问服务商是否拦住了函数。",
    "strange": "ChatGPT 的回应无法识别。请部署者检查 CHATGPT_BASE_URL 是不是兼容 OpenAI 的服务。",
    "empty": "ChatGPT 的回答是空的。请换一种问法；如果一直这样，请部署者检查环境变量 CHATGPT_OPTIONS 里的长度限制。",
    "ended": "ChatGPT 没有回答就结束了。请换一种问法，或者稍后再问。",
    "thoughts": "模型只给出了思考（推理）过程，没有给出回答。请再问一次；如果一直这样，请部署者"
    '在环境变量 CHATGPT_OPTIONS 里调大长度限制（例如 max_tokens），或者关掉思考（例如 {"enable_thinking": false}）。',
    "tools": "模型没有回答，而是要调用工具，但机器人没有工具。请换一种问法；如果一直这样，请部署者换一个模型。",
}
# What may be due to the pictures of a question, and what the person sees then.
PICTURES_REFUSED = {"vision": FAILURES["vision"], **dict.fromkeys(("picture", "long"), FAILURES["picture"])}
PICTURES_REFUSED["filtered"] = "图片没有通过 ChatGPT 的内容审核。请换一张图片，或者用文字提问。"
PICTURES_REFUSED["options"] = PICTURES_REFUSED["strange"] = PICTURES_REFUSED["down"] = (
    "ChatGPT 不接受带图片的提问，可能是这个模型看不了图片。请用文字提问，"
    "或者请部署者检查环境变量 CHATGPT_MODEL 和 CHATGPT_OPTIONS。"
)
SERVICE_SAID = "（服务的原话：{said}）"  # below a sentence about which a deployer must act
# Below an answer that ends too early.
TOO_SHORT = "（回答到了长度上限，后面的被截断了，没有说完。）"
GO_ON = "继续"  # a link that a tap sends
TAKEN_AWAY = "（后面的内容没有通过内容审核，回答没有说完。）"
TOOL_CALLED = "（模型还想调用工具，但机器人没有工具。）"
BROKEN_OFF = "（ChatGPT 中途出错了，回答没有说完。）"
NOT_ALL_SENT = "（回答太长，后面的没有发出来。可以让我接着往下说，或者把问题问得具体一些。）"

# --- OSS ---
HISTORY_NOT_READ = "（没能读取聊天记录，所以没有参考之前的对话。{problem}。）"
HISTORY_PERHAPS_NOT_SAVED = "（这次对话不一定存进了聊天记录。{problem}。）"
HISTORY_NOT_SAVED = "（这次对话没能存进聊天记录。{problem}。）"
HISTORY_NOT_READ_NOR_SAVED = "（没能读取聊天记录，所以没有参考之前的对话，这次对话也可能没有存下来。{problem}。）"
OSS_NOT_REACHED = "连接不上 OSS（{error}），请检查环境变量 OSS_ENDPOINT"
OSS_ERROR = "OSS 错误 {code}，请求 {request_id}"
OSS_WHAT_TO_DO = "：{hint}"  # behind OSS_ERROR
TOO_MANY_AT_ONCE = "同时写入的人太多"
OSS_HINTS = {  # what the deployer can do, by cause
    "overdue": "阿里云账号欠费或被停用，请充值，或者查看阿里云的站内信",
    "bucket disabled": "Bucket 因为安全原因被停用，请在 OSS 控制台查看原因，或者换一个 Bucket",
    "other owner": "这个 Bucket 属于别的账号，请检查环境变量 OSS_BUCKET_NAME",
    "no bucket": "请检查环境变量 OSS_BUCKET_NAME",
    "acceleration": "请先为 Bucket 开启传输加速，或者把环境变量 OSS_ENDPOINT 清空",
    "public endpoint": "请把环境变量 OSS_ENDPOINT 改为内网地址，或者不填",
    "endpoint": "请检查环境变量 OSS_ENDPOINT，它应该像 https://oss-us-west-1.aliyuncs.com",
    "other region": "Bucket 不在这个地域，请检查环境变量 OSS_ENDPOINT 和 OSS_REGION",
    "role": "请检查服务或函数的角色，再重新部署函数",
    "clock": "函数的时钟与 OSS 相差太多，请稍后再试；如果一直这样，请重新部署函数",
    "key id": "请检查环境变量 ACCESS_KEY_ID，或者把它和 ACCESS_KEY_SECRET 都清空、改用角色",
    "key secret": "请检查环境变量 ACCESS_KEY_SECRET 和 OSS_REGION",
    "policy": "Bucket 的授权策略（Bucket Policy）或 VPC 的策略不允许访问，请在 OSS 控制台检查它们，再检查角色的权限",
    "storage class": "存储类型是归档的内容要先解冻才能读，请换一个标准存储的 Bucket，或者删掉转为归档的生命周期规则",
    "permission": "角色（或 AccessKey）需要在 chat-journal/*、chat-history/*、chat-settings/* 和 chat-usage/* 上有权限 "
    "oss:GetObject、oss:PutObject、oss:DeleteObject",
    "region": "请检查环境变量 OSS_REGION，它是 Bucket 所在的地域",
    "not appendable": "这个文件不能追加内容。请在 OSS 控制台里删除 chat-journal/ 和 chat-history/ 里"
    "不是追加类型的文件；如果 Bucket 开启过版本控制，请换一个没有开启过的",
    "immutable": "Bucket 的保留策略不允许写入，请换一个 Bucket",
    "encryption": "Bucket 的加密密钥用不了，请在 OSS 控制台检查 Bucket 的服务器端加密，或者换一个 Bucket",
    "busy": "OSS 正在限流，请稍后再试",
}

# --- the self-check of Dingtalk_ChatGPT_Reply ---
REPORT = {"settings": "settings 环境变量", "time-out": "time-out 执行超时时间", "DingTalk": "DingTalk 图片和文件"}
SHORT_TIME_OUT = "函数的执行超时时间是 {seconds} 秒，请改为至少 {needed} 秒"
NOT_CHECKED = "没有检查：先改正 {name}"
NO_TIME_TO_CHECK = "没有检查完：时间不够了，请调大函数的执行超时时间，再检查一次"
VERSIONED = "Bucket 开启过版本控制：\\clear 以后历史版本里仍有原来的内容，也可能存不进去。请换一个没有开启过的 Bucket"
