"""Local DingTalk, Function Compute, OSS and OpenAI API: real HTTP servers that refuse what the real services refuse.

What each one checks is taken from the services' public documents and from the SDKs' source; where a
document is silent, the comment at that place says what is assumed.
"""
