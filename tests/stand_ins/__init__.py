"""Local DingTalk, Function Compute, OSS and OpenAI API: real HTTP servers that refuse what the real services refuse.

The checks come from the services' public documents and from the SDKs' source. Where a document is silent, a comment
at the check says what is assumed.
"""
