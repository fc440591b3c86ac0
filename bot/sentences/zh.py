"""Every sentence that a person can see, in Chinese, by cause."""

from __future__ import annotations

INTERNAL = "机器人内部出错了。请部署者在 Dingtalk_ChatGPT_Reply 的日志里查找请求 {}。"
WITHHELD = "钉钉没有显示这条回答（错误码 {}）：可能太长，或者内容审核没有通过。请换一种问法。"

HELP = """可以直接提问，也可以发送：
\\clear（或 清除）：忘掉之前的对话
\\status（或 状态）：查看模型和记住的对话轮数
\\help（或 帮助）：显示这些说明"""
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
    "app": "钉钉不认这个应用，所以看不了图片和文件。请部署者检查环境变量 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET。",
    "permission": "钉钉不允许机器人下载图片和文件。请部署者在钉钉开发者后台打开这个应用的“权限管理”，"
    "申请权限 qyapi_robot_sendmsg（企业内机器人发送消息权限）。",
    "ip": "钉钉只允许指定的 IP 访问，所以下载不了图片和文件。请部署者在钉钉开发者后台清空这个应用的服务器出口 IP。",
    "quota": "本组织这个月的钉钉 API 调用量用完了，下载不了图片和文件。请联系组织的管理员增加额度，或者下个月再试。",
    "busy": "钉钉现在太忙，图片或文件没有下载下来。请过一会儿再发一次。",
    "robot": "这个机器人不属于 DINGTALK_APP_KEY 的应用，看不了图片和文件。请部署者改成机器人所属应用的 AppKey。",
    "expired": "图片或文件已经过期，下载不了。请重新发一次。",
    "refused": "钉钉没有交出图片或文件。请重新发一次；如果一直这样，请部署者在日志里查看钉钉的错误码。",
    "network": "图片或文件没有下载下来。请再发一次；如果一直这样，请部署者检查函数的网络。",
    "missing": "钉钉没有把图片或文件交给机器人，我看不到。请在单聊里直接发给我。",
    "large": "图片超过 5 MB，或者文件超过 100 KB，我看不了。请压缩图片，或者只发要问的那部分文字。",
    "picture": "这张图片的格式我看不了，只能看 PNG、JPEG、WEBP 和 GIF。请转换格式以后再发。",
    "file": "这个文件我读不了，只能读 UTF-8 或 GB18030 编码的文本文件，例如 .txt、.md、.csv、.json、代码。"
    "PDF、Word、Excel 等请把要问的内容复制成文字发给我。",
    "many": "一次最多看 4 张图片或文件，后面的没有看。请分几次发。",
}
NOT_SEEN["token"] = NOT_SEEN["app"]
SWITCHED_OFF = "部署者设置 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET 以后，我就能看图片和文本文件。"
OVER_QUOTA = "钉钉说本组织的消息调用量已经用完，机器人的服务暂停了。请联系组织的管理员在钉钉开发者后台处理。"
USER_REFUSED = "你还不能使用这个机器人。请部署者把你的员工 ID（{}）加进环境变量 ALLOWED_USERS。"
LIMIT_REACHED = "你今天的 {} 次提问机会已经用完，明天再来吧。需要更多时，请部署者调大环境变量 DAILY_LIMIT。"
GROUP_REFUSED = "这个群还不能使用机器人。请部署者把群的会话 ID（{}）加进环境变量 ALLOWED_GROUPS。"
PICTURE_QUESTION = "请看这张图片，说说里面有什么；如果里面是问题，请直接回答。"
FILE_QUESTION = "请读这个文件，说说里面写了什么；如果里面是问题，请直接回答。"

THINKING = "🤔思考中"

# What the person sees when ChatGPT does not answer, by cause.
FAILURES = {
    "key": "ChatGPT 的 API 密钥无效。请部署者检查环境变量 CHATGPT_API_KEY。",
    "forbidden": "这个密钥没有权限使用 ChatGPT。请部署者在服务商的控制台检查密钥、项目和账户的状态。",
    "region": "ChatGPT 不支持函数所在的国家或地区。请部署者换一个地域部署，或者设置 CHATGPT_BASE_URL。",
    "model": "ChatGPT 没有这个模型，或者这个账户还没有开通它。"
    "请部署者检查环境变量 CHATGPT_MODEL，并在服务的控制台里开通这个模型。",
    "address": "这个地址上没有 ChatGPT 的接口。请部署者检查环境变量 CHATGPT_BASE_URL。",
    "balance": "ChatGPT 账户的余额或额度用完了（也可能是免费额度用完了）。请部署者充值，或者提高额度上限。",
    "busy": "ChatGPT 现在太忙，或者提问太频繁了。请过一会儿再问。",
    "long": "这个问题太长，模型读不完。请缩短以后再问。",
    "filtered": "这个问题或它的回答没有通过 ChatGPT 的内容审核。请换一种问法。",
    "vision": "这个模型看不了图片。请用文字提问，或者请部署者把环境变量 CHATGPT_MODEL 换成能看图片的模型。",
    "picture": "ChatGPT 读不了这张图片。请换一张小一些的 PNG 或 JPEG 图片，或者用文字提问。",
    "options": "ChatGPT 不接受这样的请求。请部署者检查环境变量 CHATGPT_OPTIONS 和 CHATGPT_MODEL。",
    "timeout": "ChatGPT 没有在规定的时间内答完。请稍后再问，或者把问题拆成几个小问题；"
    "部署者可以调大环境变量 TIMEOUT，函数的执行超时时间要比它至少多 30 秒。",
    "network": "连接不上 ChatGPT。请稍后再问；如果一直这样，请部署者检查 CHATGPT_BASE_URL 和函数的网络。",
    "down": "ChatGPT 暂时出错了。请稍后再问。",
    "strange": "ChatGPT 的回应无法识别。请部署者检查 CHATGPT_BASE_URL 是不是兼容 OpenAI 的服务。",
    "empty": "ChatGPT 的回答是空的。请换一种问法；如果一直这样，请部署者检查环境变量 CHATGPT_OPTIONS 里的长度限制。",
    "thoughts": "模型只给出了思考（推理）过程，没有给出回答。请再问一次；如果一直这样，请部署者"
    '在环境变量 CHATGPT_OPTIONS 里调大长度限制（例如 max_tokens），或者关掉思考（例如 {"enable_thinking": false}）。',
    "tools": "模型没有回答，而是要调用工具，但机器人没有工具。请换一种问法；如果一直这样，请部署者换一个模型。",
}
# What may be due to the pictures of a question, and what the person sees then.
PICTURES_REFUSED = {
    "vision": FAILURES["vision"],
    "picture": FAILURES["picture"],
    "long": FAILURES["picture"],
    "filtered": "图片没有通过 ChatGPT 的内容审核。请换一张图片，或者用文字提问。",
    "options": "ChatGPT 不接受带图片的提问，可能是这个模型看不了图片。请用文字提问，"
    "或者请部署者检查环境变量 CHATGPT_MODEL 和 CHATGPT_OPTIONS。",
}
PICTURES_REFUSED["strange"] = PICTURES_REFUSED["options"]

# What is said below an answer that ends too early, by its finish_reason.
TOO_SHORT = "（回答到了长度上限，后面的被截断了，没有说完。）"
TAKEN_AWAY = "（后面的内容没有通过内容审核，回答没有说完。）"
BROKEN_OFF = "（ChatGPT 中途出错了，回答没有说完。）"

# What the deployer can do about an error of OSS, by words of its code and its message; the first that fits.
OSS_HINTS = {
    r"InDebt|UserDisable|Overdue|Arrear|AbnormalBucketOwner": "阿里云账号欠费或被停用，请充值，或者查看阿里云的站内信",
    r"BucketDisable|UbsmsInvalid": "Bucket 因为安全原因被停用，请在 OSS 控制台查看原因，或者换一个 Bucket",
    r"does not belong to you|BucketNotBelongTo": "这个 Bucket 属于别的账号，请检查环境变量 OSS_BUCKET_NAME",
    r"NoSuchBucket|InvalidBucketName": "请检查环境变量 OSS_BUCKET_NAME",
    r"acceler": "请先为 Bucket 开启传输加速，或者把环境变量 OSS_ENDPOINT 清空",
    r"PublicEndpointForbidden": "请把环境变量 OSS_ENDPOINT 改为内网地址，或者不填",
    r"SecondLevelDomainForbidden": "请检查环境变量 OSS_ENDPOINT，它应该像 https://oss-us-west-1.aliyuncs.com",
    r"specified endpoint|valid endpoint": "Bucket 不在这个地域，请检查环境变量 OSS_ENDPOINT 和 OSS_REGION",
    r"TokenExpired|InvalidSecurityToken|TokenNotMatch|TokenNotSupported": "请检查服务或函数的角色，再重新部署函数",
    r"RequestTimeTooSkewed|RequestExpired": "函数的时钟与 OSS 相差太多，请稍后再试；如果一直这样，请重新部署函数",
    r"InvalidAccessKeyId": "请检查环境变量 ACCESS_KEY_ID，或者把它和 ACCESS_KEY_SECRET 都清空、改用角色",
    r"SignatureDoesNotMatch": "请检查环境变量 ACCESS_KEY_SECRET 和 OSS_REGION",
    r"AccessDenied|AccessForbidden": "角色（或 AccessKey）需要在 chat-history/* 和 chat-usage/* 上有权限 "
    "oss:GetObject、oss:PutObject、oss:DeleteObject",
    r"InvalidArgument": "请检查环境变量 OSS_REGION，它是 Bucket 所在的地域",
    r"ObjectNotAppendable": "这个文件不能追加内容。如果 Bucket 开启过版本控制，请换一个没有开启过的；"
    "否则发送 \\clear 就会重建",
    r"FileImmutable": "Bucket 的保留策略不允许写入，请换一个 Bucket",
    r"Kms": "Bucket 的加密密钥用不了，请在 OSS 控制台检查 Bucket 的服务器端加密，或者换一个 Bucket",
    r"RateLimit|QpsLimit|TooManyRequests": "OSS 正在限流，请稍后再试",
}
VERSIONED = (
    "Bucket 开启过版本控制：\\clear 以后原来的内容仍留在历史版本里，也可能再也存不进去。请换一个没有开启过的 Bucket"
)
USE_A_BROWSER = (
    "这个事件不是 HTTP 请求。请用浏览器打开本函数的 HTTP 触发器的地址，查看设置是否齐全。\n"
    "This event is no HTTP request. Open the address of the function's HTTP trigger in a browser instead.\n"
)

NOT_FUNCTION_COMPUTE = (
    "收到的回应不像是函数计算发来的。请稍后再发一次；"
    "如果一直这样，请部署者检查 Dingtalk_Conversation 的环境变量 ENDPOINT。"
)
NOT_CONFIRMED = "函数计算没有及时确认这条消息。如果一分钟后还没有回答，请再发一次。"
NOT_REACHED = "连接不上函数计算。请部署者检查 Dingtalk_Conversation 的环境变量 ENDPOINT（一般不用填）。"
